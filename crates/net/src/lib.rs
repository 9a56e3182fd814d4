//! Placeholder of `net`.
