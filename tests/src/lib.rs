//! Nothing: the package holds tests only.
