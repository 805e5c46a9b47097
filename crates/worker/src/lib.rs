//! pumasi-worker
