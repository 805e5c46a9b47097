//! pumasi-blobs
