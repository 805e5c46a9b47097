//! pumasi-core
