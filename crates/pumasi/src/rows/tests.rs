//! Tables as people and programs write them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use parquet::arrow::ArrowWriter;

use super::*;

fn all(path: &Path) -> (Vec<String>, Vec<Row>) {
    let mut rows = Rows::open(path).unwrap();
    let names = rows.names().to_owned();
    let read = std::iter::from_fn(|| rows.next().unwrap()).collect();
    let (position, total) = rows.position();
    assert_eq!(position, total);
    (names, read)
}

fn row(number: u64, cells: &[&str], problem: Option<&str>) -> Row {
    let cells = cells.iter().map(|cell| (*cell).to_owned()).collect();
    Row { number, cells, problem: problem.map(str::to_owned) }
}

#[test]
fn csv_is_read_as_spreadsheets_write_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("articles.CSV");
    let text = b"\xef\xbb\xbfsku, title,price\r\ntea,\"Tea, \"\"green\"\"\nloose\",5000\r\n\r\n rice ,,30000\nx\ny,\xff,1\n1,2,3,4\n";
    std::fs::write(&path, text).unwrap();
    let (names, rows) = all(&path);
    assert_eq!(names, ["sku", "title", "price"]);
    assert_eq!(
        rows,
        [
            row(2, &["tea", "Tea, \"green\"\nloose", "5000"], None),
            row(3, &["rice", "", "30000"], None),
            row(4, &["x", "", ""], Some("has 1 fields, but there are 3 columns")),
            row(5, &["y", "\u{fffd}", "1"], Some("is not UTF-8 text")),
            row(6, &["1", "2", "3"], Some("has 4 fields, but there are 3 columns")),
        ]
    );
}

#[test]
fn a_cell_that_is_too_long_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, format!("sku\n{}\n", "x".repeat(1001))).unwrap();
    let problem = all(&path).1[0].problem.clone().unwrap();
    assert_eq!(problem, "sku has 1001 bytes: nothing here can have more than 1000");
}

#[test]
fn parquet_has_numbers_and_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stock.parquet");
    let columns: [(&str, ArrayRef); 3] = [
        ("sku", Arc::new(StringArray::from(vec![Some("tea"), None]))),
        ("place", Arc::new(Int64Array::from(vec![None, Some(7)]))),
        ("quantity", Arc::new(Float64Array::from(vec![12.0, 0.5]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (names, rows) = all(&path);
    assert_eq!(names, ["sku", "place", "quantity"]);
    assert_eq!(rows, [row(1, &["tea", "", "12.0"], None), row(2, &["", "7", "0.5"], None)]);
}

#[test]
fn what_is_no_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    std::fs::write(&path, "PAR1 or not").unwrap();
    assert!(matches!(Rows::open(&path), Err(CliError::Content { .. })));
    let path = dir.path().join("a.xlsx");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Rows::open(&path), Err(CliError::Usage { .. })));
}
