//! Placeholder of `bitcask`.
