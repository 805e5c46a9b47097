//! Patterns of file names that the shell did not fill in: quoted, or too many files for one command line.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::CliError;

/// The files that are meant, in order of their paths within each pattern.
///
/// A path that exists means itself, whatever signs it has.
///
/// # Errors
/// When a folder cannot be read, or nothing matches.
pub(crate) fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !is_pattern(path.as_os_str().as_encoded_bytes()) || path.exists() {
            files.push(path.clone());
            continue;
        }
        let mut found = matching(path)?;
        if found.is_empty() {
            let nothing = std::io::Error::new(std::io::ErrorKind::NotFound, "no file matches");
            return Err(CliError::file("read", path)(nothing));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Whether a path or name has signs that stand for others.
pub(crate) fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether a pattern stands for this name; for a hidden one only when it begins as that does.
pub(crate) fn stands_for(pattern: &[u8], name: &[u8]) -> bool {
    let is_hidden = name.starts_with(b".") && !pattern.starts_with(b".");
    !is_hidden && matches(pattern, name)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let name = name.as_encoded_bytes();
        if !is_pattern(name) {
            found.iter_mut().for_each(|path| path.push(part));
            found.retain(|path| path.exists());
            continue;
        }
        let mut deeper = Vec::new();
        for folder in &found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !here.is_dir() {
                continue;
            }
            for entry in fs::read_dir(here).map_err(CliError::file("read", here))? {
                let entry = entry.map_err(CliError::file("read", here))?.file_name();
                if stands_for(name, entry.as_encoded_bytes()) {
                    deeper.push(folder.join(entry));
                }
            }
        }
        found = deeper;
    }
    Ok(found)
}

/// Whether a name fits: `*` stands for any bytes, `?` for one character. Takes time in proportion to the
/// product of both lengths at most.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last `*` was, and what of the name it takes in so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n += 1;
                // The rest of a character in UTF-8.
                while name.get(n).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    n += 1;
                }
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*", "x"),
            ("*.fa", "a.fa"),
            ("a*c*e", "abcde"),
            ("?", "é"),
            ("*0*.fa", "q10x0.fa"),
            ("a?", "ab"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("*.fa", "a.fab"), ("?", ""), ("?", "ab"), ("a*c", "ab"), ("", "a")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        let long = "a".repeat(2_000);
        assert!(!matches("a*a*a*a*a*a*a*b".as_bytes(), long.as_bytes()));
    }

    #[test]
    fn patterns_become_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.fa", "a/1.fa", "a/.hidden.fa", "a/x.txt", "a/st*r"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let expand = |patterns: &[&str]| {
            let paths: Vec<_> = patterns.iter().map(|pattern| dir.path().join(pattern)).collect();
            let files = expand(&paths).map_err(|error| error.line())?;
            let name = |file: &PathBuf| file.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned();
            Ok::<_, String>(files.iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(expand(&["*/*.fa"]).unwrap(), ["a/1.fa", "b/2.fa"]);
        assert_eq!(expand(&["a/.h*", "b/2.fa"]).unwrap(), ["a/.hidden.fa", "b/2.fa"]);
        assert_eq!(expand(&["a/st*r"]).unwrap(), ["a/st*r"], "a file that is named so");
        assert_eq!(expand(&["missing.fa"]).unwrap(), ["missing.fa"], "named in the error when it is read");
        assert!(expand(&["*.zip"]).unwrap_err().contains("no file matches"));
        assert!(expand(&["a/1.fa/*"]).is_err());
    }
}
