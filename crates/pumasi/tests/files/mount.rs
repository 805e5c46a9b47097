//! A folder of a space used by ordinary programs through the kernel.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::scene::{Person, Scene, noise};

/// A mount in a process of its own.
struct Mount {
    process: Child,
    dir: PathBuf,
}

impl Mount {
    /// None where this machine lets nobody mount.
    fn new(person: &Person<'_>, place: &str, more: &[&str]) -> Option<Mount> {
        if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
            eprintln!("skipped: /dev/fuse cannot be opened here");
            return None;
        }
        let dir = person.path("mnt");
        fs::create_dir_all(&dir).unwrap();
        let arguments = [&["mount", place, dir.to_str().unwrap()], more].concat();
        let process =
            person.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut mount = Mount { process, dir };
        let mut said = String::new();
        BufReader::new(mount.process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.is_empty() {
            let mut error = String::new();
            mount.process.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            assert!(error.contains("not permitted") || error.contains("denied"), "{error}");
            eprintln!("skipped: this machine lets nobody mount: {error}");
            return None;
        }
        Some(mount)
    }

    fn end(mut self) {
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = Command::new("umount").arg("-l").arg(&self.dir).stderr(Stdio::null()).status();
    }
}

#[test]
fn programs_use_the_store_as_a_folder() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let large = noise(9, 10 << 20);
    alice.write("d/large", &large);
    alice.write("d/sub/small", "hello");
    alice.ok(&["put", "d", ":d"]);
    let Some(mount) = Mount::new(&alice, ":", &[]) else { return };
    let at = |name: &str| mount.dir.join(name);
    assert!(fs::read(at("d/large")).unwrap() == large);
    let mut file = fs::File::open(at("d/large")).unwrap();
    file.seek(SeekFrom::Start(9_999_999)).unwrap();
    let mut some = [0; 5];
    file.read_exact(&mut some).unwrap();
    assert_eq!(some, large[9_999_999..10_000_004]);
    drop(file);

    fs::write(at("d/new"), "written").unwrap();
    assert_eq!(alice.ok(&["cat", ":d/new"]), "written", "it is there when it is closed");
    fs::File::options().append(true).open(at("d/sub/small")).unwrap().write_all(b", world").unwrap();
    assert_eq!(alice.ok(&["cat", ":d/sub/small"]), "hello, world");
    assert_eq!(alice.json(&["versions", ":d/sub/small"])["versions"].as_array().unwrap().len(), 2);
    fs::File::options().write(true).open(at("d/new")).unwrap().set_len(3).unwrap();
    assert_eq!(alice.ok(&["cat", ":d/new"]), "wri");

    fs::create_dir_all(at("x/y")).unwrap();
    fs::rename(at("d/new"), at("x/y/moved")).unwrap();
    fs::write(at("x/tmp"), "safe save").unwrap();
    fs::rename(at("x/tmp"), at("x/y/moved")).unwrap();
    assert_eq!(alice.ok(&["cat", ":x/y/moved"]), "safe save");
    let names: Vec<_> = fs::read_dir(at("x/y")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["moved"]);
    assert_eq!(fs::remove_dir(at("x")).unwrap_err().kind(), std::io::ErrorKind::DirectoryNotEmpty);
    assert!(Command::new("cp").arg("-rp").arg(at("d")).arg(at("copy")).status().unwrap().success());
    assert!(fs::read(at("copy/large")).unwrap() == large);
    assert!(Command::new("rm").arg("-r").arg(at("copy")).status().unwrap().success());
    fs::remove_dir_all(at("x")).unwrap();
    assert_eq!(alice.names(":"), ["d/large", "d/sub/small"]);
    assert_eq!(fs::read(at("nothing")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    mount.end();
}

#[test]
fn a_change_of_somebody_else_is_not_lost() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.write("a.txt", "first");
    alice.ok(&["put", "a.txt", ":a.txt"]);
    let Some(mount) = Mount::new(&alice, ":", &[]) else { return };
    let mut file = fs::File::options().write(true).open(mount.dir.join("a.txt")).unwrap();
    alice.write("a.txt", "theirs");
    alice.ok(&["key", "new"]);
    alice.ok(&["put", "a.txt", ":a.txt", "--encrypt"]);
    // Not before: a process that is started closes its copies of open files, and each close stores what was written.
    file.write_all(b"mine ").unwrap();
    file.sync_all().unwrap();
    // What is written now would take the place of what nobody here has seen, and what is moved is not what was written.
    let stale = std::io::ErrorKind::StaleNetworkFileHandle;
    assert_eq!(file.write_all(b"more").unwrap_err().kind(), stale);
    let (from, to) = (mount.dir.join("a.txt"), mount.dir.join("b.txt"));
    assert_eq!(fs::rename(&from, &to).unwrap_err().kind(), stale);
    // Neither does it go, nor does another take its place, as if it were what was written here.
    assert_eq!(fs::remove_file(&from).unwrap_err().kind(), stale);
    fs::write(&to, "another").unwrap();
    assert_eq!(fs::rename(&to, &from).unwrap_err().kind(), stale);
    drop(file);
    assert_eq!(alice.ok(&["cat", ":a.txt"]), "theirs");
    assert!(alice.run(&["cat", ":a.txt", "--raw"]).stdout.starts_with(b"PUMASISL"));
    let names = alice.names(":");
    let copy = names.iter().find(|name| name.contains("(conflict")).unwrap_or_else(|| panic!("{names:?}"));
    assert_eq!(alice.ok(&["cat", &format!(":{copy}")]), "mine ");
    mount.end();
}

#[test]
fn a_full_space_fails_the_program_and_a_reader_changes_nothing() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["space", "make", "small"]);
    scene.operator().ok(&["space", "change", "small", "--quota", "1000B"]);
    alice.write("a", "x");
    alice.ok(&["put", "a", "small:a"]);
    let Some(mount) = Mount::new(&alice, "small:", &[]) else { return };
    let mut file = fs::File::create(mount.dir.join("large")).unwrap();
    file.write_all(&noise(1, 5_000)).unwrap();
    assert_eq!(file.sync_all().unwrap_err().kind(), std::io::ErrorKind::QuotaExceeded);
    drop(file);
    drop(mount);
    let Some(mount) = Mount::new(&alice, "small:", &["--read-only"]) else { return };
    assert_eq!(fs::read_to_string(mount.dir.join("a")).unwrap(), "x");
    assert!(fs::write(mount.dir.join("b"), "x").is_err() && fs::remove_file(mount.dir.join("a")).is_err());
    mount.end();
}

#[test]
fn encrypted_files_are_plain_in_a_mounted_folder_and_nowhere_else() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    let large = noise(4, 34 << 20);
    alice.write("d/large", &large);
    alice.write("d/plain", "not encrypted");
    alice.ok(&["put", "d/large", ":d/", "--encrypt"]);
    alice.ok(&["put", "d/plain", ":d/"]);
    let Some(mount) = Mount::new(&alice, ":", &["--encrypt"]) else { return };
    let at = |name: &str| mount.dir.join(name);
    let is_sealed = |place: &str| alice.run(&["cat", place, "--raw"]).stdout.starts_with(b"PUMASISL");
    assert_eq!(fs::metadata(at("d/large")).unwrap().len(), large.len() as u64);
    assert!(fs::read(at("d/large")).unwrap() == large);
    let mut file = fs::File::options().read(true).write(true).open(at("d/large")).unwrap();
    file.seek(SeekFrom::Start(9_999_999)).unwrap();
    let mut some = [0; 5];
    file.read_exact(&mut some).unwrap();
    assert_eq!(some, large[9_999_999..10_000_004]);
    file.seek(SeekFrom::Start(65_530)).unwrap();
    file.write_all(b"over an edge").unwrap();
    drop(file);
    alice.ok(&["get", ":d/large", "back"]);
    assert!(
        is_sealed(":d/large") && fs::read(alice.path("back")).unwrap()[65_530..65_542] == *b"over an edge"
    );

    fs::write(at("d/new"), "written").unwrap();
    assert!(is_sealed(":d/new") && alice.ok(&["cat", ":d/new"]) == "written");
    fs::write(at("d/plain"), "still not").unwrap();
    assert_eq!(alice.run(&["cat", ":d/plain", "--raw"]).stdout, b"still not");
    // Programs save a file as another one and move that over it.
    fs::rename(at("d/plain"), at("d/new")).unwrap();
    assert!(is_sealed(":d/new") && fs::read_to_string(at("d/new")).unwrap() == "still not");
    fs::File::options().write(true).open(at("d/new")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(is_sealed(":d/new") && alice.ok(&["cat", ":d/new"]) == "still not");
    mount.end();

    // Without the key it cannot be opened, and nothing else suffers.
    let other = alice.elsewhere("other");
    let Some(mount) = Mount::new(&other, ":", &[]) else { return };
    assert_eq!(fs::read(mount.dir.join("d/new")).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert!(fs::write(mount.dir.join("d/new"), "laid open").is_err());
    fs::write(mount.dir.join("d/mine"), "readable").unwrap();
    assert_eq!(alice.ok(&["cat", ":d/mine"]), "readable");
    mount.end();
}

#[test]
fn what_programs_save_in_place_of_an_encrypted_file_was_never_plain() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    for name in ["d/beside", "d/over", "e/anew", "f/removed", "g/moved"] {
        alice.write(name, "first");
        alice.ok(&["put", name, &format!(":{name}"), "--encrypt"]);
    }
    alice.write("plain/a", "readable");
    alice.ok(&["put", "plain", ":plain"]);
    let Some(mount) = Mount::new(&alice, ":", &[]) else { return };
    let at = |name: &str| mount.dir.join(name);
    // As another file beside it that is moved over it: sed -i, GLib.
    fs::write(at("d/sedA1"), "second").unwrap();
    fs::rename(at("d/sedA1"), at("d/over")).unwrap();
    // Moved away and made anew: vim, Emacs. Nothing else lies there.
    fs::rename(at("e/anew"), at("plain/backup")).unwrap();
    fs::write(at("e/anew"), "second").unwrap();
    fs::remove_file(at("f/removed")).unwrap();
    fs::write(at("f/removed"), "second").unwrap();
    fs::rename(at("g/moved"), at("g/backup")).unwrap();
    fs::rename(at("plain/a"), at("g/moved")).unwrap();
    fs::write(at("other"), "readable").unwrap();
    mount.end();

    let raw = |arguments: &[&str]| alice.run(&[&["cat", "--raw"], arguments].concat()).stdout;
    for place in [":d/over", ":e/anew", ":f/removed"] {
        let versions = alice.json(&["versions", place]);
        for version in versions["versions"].as_array().unwrap() {
            let stored = raw(&[place, "--version", &version["version"].to_string()]);
            assert!(stored.starts_with(b"PUMASISL"), "{place}: {version}");
        }
        assert_eq!(alice.ok(&["cat", place]), "second");
    }
    assert!(raw(&[":g/moved"]).starts_with(b"PUMASISL") && alice.ok(&["cat", ":g/moved"]) == "readable");
    assert_eq!(raw(&[":other"]), b"readable", "where nothing is encrypted nothing becomes so");
}
