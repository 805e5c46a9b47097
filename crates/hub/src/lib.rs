//! pumasi-hub
