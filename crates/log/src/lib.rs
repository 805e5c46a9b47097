//! pumasi-log
