//! A clock that can be set for one process, by libfaketime (Debian's package `faketime`).

use std::path::{Path, PathBuf};

/// What sets the clock of a hub.
pub(crate) struct Clock {
    library: PathBuf,
    control: PathBuf,
}

impl Clock {
    /// A clock that is right until it is set; none where the package is not installed.
    pub(crate) fn in_folder(folder: &Path) -> Option<Clock> {
        let libraries = std::fs::read_dir("/usr/lib").ok()?.filter_map(|item| Some(item.ok()?.path()));
        let library = libraries.map(|at| at.join("faketime/libfaketime.so.1")).find(|path| path.exists())?;
        let clock = Clock { library, control: folder.join("clock") };
        clock.set(0);
        Some(clock)
    }

    /// The environment of the process whose clock this is. What measures spans is left alone.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", &*self.library.to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", &*self.control.to_string_lossy()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// From now on it runs so many seconds ahead of the machine's, or behind it.
    pub(crate) fn set(&self, seconds: i64) {
        // Replaced in one step: the process may be reading it.
        let next = self.control.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("the folder can be written");
        std::fs::rename(next, &self.control).expect("the folder can be written");
    }
}

/// The library leaves two files of a process that is killed.
impl Drop for Clock {
    fn drop(&mut self) {
        for file in std::fs::read_dir("/dev/shm").into_iter().flatten().filter_map(Result::ok) {
            let name = file.file_name().to_string_lossy().into_owned();
            let of = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|begin| name.strip_prefix(begin));
            if of.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Somebody else may have removed it.
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}
