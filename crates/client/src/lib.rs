//! Placeholder of `client`.
