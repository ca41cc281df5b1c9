//! distribution.
