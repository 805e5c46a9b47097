//! pumasi-api
