//! Placeholder of `protocol`.
