//! What root creates for the user that a daemon will run as: directories, and empty files in directories of root.
//!
//! The paths come from a configuration that the daemon's user may partly control, and so may the directories that
//! they lead through: through a link there, root could give away one of its own files. So every step goes through
//! descriptors and follows only links that root made; only files that this run has just created change their owner;
//! and nothing is created where another user could have exchanged it meanwhile. The daemon does the rest itself, with
//! its own rights, or reports it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use nix::unistd::User;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat,
    readlinkat, statat,
};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Salt also creates these: others may list a socket directory and read a process id.
const FOLDER_MODE: u32 = 0o755;
const PID_FILE_MODE: u32 = 0o644;
const LOG_FILE_MODE: u32 = 0o640;
/// As many links as Linux follows in one path.
const MOST_LINKS: u32 = 40;

/// What the user must be able to write; root makes what does not exist yet and gives it to the user.
#[derive(Debug, Clone, Default)]
pub(crate) struct Belongings {
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) log_file: Option<PathBuf>,
}

/// Makes what does not exist yet of a daemon's folders and files and gives it to `user`.
pub(super) fn prepare(belongings: &Belongings, user: &User) -> anyhow::Result<()> {
    for folder in &belongings.folders {
        make_folder(folder, user)
            .with_context(|| format!("option user: folder {}", folder.display()))?;
    }
    let files = [
        (&belongings.pid_file, PID_FILE_MODE),
        (&belongings.log_file, LOG_FILE_MODE),
    ];
    for (file, mode) in files {
        if let Some(file) = file {
            make_file(file, mode, user)
                .with_context(|| format!("option user: file {}", file.display()))?;
        }
    }
    Ok(())
}

fn make_folder(path: &Path, user: &User) -> anyhow::Result<()> {
    match open_or_make(path)? {
        Some(Folder { fd, is_new: true }) => give(&fd, FOLDER_MODE, user),
        _ => Ok(()),
    }
}

fn make_file(path: &Path, mode: u32, user: &User) -> anyhow::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("not the path of a file");
    };
    let Some(folder) = open_or_make(parent)? else {
        return Ok(());
    };
    if is_roots(&folder.fd)? {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&folder.fd, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => give(&file, mode, user)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The user of a new folder may rotate the log in it.
    if folder.is_new {
        give(&folder.fd, FOLDER_MODE, user)?;
    }
    Ok(())
}

/// A folder, and whether this call made it.
struct Folder {
    fd: OwnedFd,
    is_new: bool,
}

/// Opens a folder, making it and those above it. `None` where that is for the user to do: somebody other than root
/// can change an entry on the way.
fn open_or_make(path: &Path) -> anyhow::Result<Option<Folder>> {
    let mut at = open_root()?;
    let mut is_new = false;
    let mut links = 0;
    let mut names = names_of(&std::path::absolute(path)?);
    while let Some(name) = names.pop_front() {
        match openat(&at, &name, FOLDER, Mode::empty()) {
            Ok(folder) => (at, is_new) = (folder, false),
            Err(Errno::NOENT) if is_roots(&at)? => {
                at = make_in(&at, &name)?;
                is_new = true;
            }
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                links += 1;
                let Some(target) = roots_link(&at, &name)?.filter(|_| links <= MOST_LINKS) else {
                    return Ok(None);
                };
                if target.is_absolute() {
                    at = open_root()?;
                }
                for name in names_of(&target).into_iter().rev() {
                    names.push_front(name);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Folder { fd: at, is_new }))
}

fn open_root() -> rustix::io::Result<OwnedFd> {
    openat(CWD, "/", FOLDER, Mode::empty())
}

/// The steps from a folder; `..` is kept, since it leads through whatever is there by then.
fn names_of(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn make_in(at: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    mkdirat(at, name, Mode::RWXU)?;
    let made = openat(at, name, FOLDER, Mode::empty())?;
    fchmod(&made, Mode::from_raw_mode(FOLDER_MODE))?;
    Ok(made)
}

/// Whether only root can replace entries of a folder: others cannot write it, or not what is not theirs (`/tmp`).
fn is_roots(folder: &OwnedFd) -> rustix::io::Result<bool> {
    let stat = fstat(folder)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_shared = mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX);
    Ok(stat.st_uid == 0 && !is_shared)
}

/// Where a link leads, if root made it and nobody else can exchange it.
fn roots_link(at: &OwnedFd, name: &OsStr) -> anyhow::Result<Option<PathBuf>> {
    let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        bail!("{} is not a folder", name.display());
    }
    if stat.st_uid != 0 || !is_roots(at)? {
        return Ok(None);
    }
    let target = readlinkat(at, name, Vec::new())?;
    Ok(Some(OsString::from_vec(target.into_bytes()).into()))
}

fn give(made: impl AsFd, mode: u32, user: &User) -> anyhow::Result<()> {
    fchmod(&made, Mode::from_raw_mode(mode))?;
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    Ok(fchown(
        &made,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    use super::*;

    /// A folder of root's, one of the user's in it, and the user; `None` without root's rights.
    fn site() -> Option<(tempfile::TempDir, PathBuf, User)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let user = User::from_name("nobody").unwrap()?;
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let users = root.path().join("users");
        fs::create_dir(&users).unwrap();
        chown(&users, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        Some((root, users, user))
    }

    fn prepared(folders: &[&Path], log_file: Option<&Path>, user: &User) -> bool {
        let belongings = Belongings {
            folders: folders.iter().map(|path| path.to_path_buf()).collect(),
            pid_file: None,
            log_file: log_file.map(Path::to_path_buf),
        };
        prepare(&belongings, user).is_ok()
    }

    fn owner(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn new_folders_and_files_below_roots_are_given_away() {
        let Some((root, _, user)) = site() else {
            return;
        };
        let (folder, log) = (root.path().join("a/b"), root.path().join("log/x"));
        assert!(prepared(&[&folder], Some(&log), &user));
        let uid = user.uid.as_raw();
        assert_eq!((owner(&folder), owner(&log)), (uid, uid));
        assert_eq!(owner(&root.path().join("a")), 0);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(&log).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn what_was_there_keeps_its_owner() {
        let Some((root, _, user)) = site() else {
            return;
        };
        let (folder, log) = (root.path().join("old"), root.path().join("old.log"));
        fs::create_dir(&folder).unwrap();
        fs::write(&log, "x").unwrap();
        assert!(prepared(&[&folder], Some(&log), &user));
        assert_eq!((owner(&folder), owner(&log)), (0, 0));
    }

    #[test]
    fn links_of_the_user_lead_nowhere() {
        let Some((root, users, user)) = site() else {
            return;
        };
        let (secret, private) = (root.path().join("secret"), root.path().join("private"));
        fs::write(&secret, "x").unwrap();
        fs::create_dir(&private).unwrap();
        for (name, target) in [("log", &secret), ("folder", &private), ("new", &private)] {
            symlink(target, users.join(name)).unwrap();
        }
        prepared(&[&users.join("folder")], Some(&users.join("log")), &user);
        prepared(
            &[&users.join("new/x")],
            Some(&users.join("folder/y")),
            &user,
        );
        assert_eq!((owner(&secret), owner(&private)), (0, 0));
        assert_eq!(fs::read_dir(&private).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_made_where_the_user_could_exchange_it() {
        let Some((_root, users, user)) = site() else {
            return;
        };
        assert!(prepared(
            &[&users.join("a/b")],
            Some(&users.join("log")),
            &user
        ));
        assert_eq!(fs::read_dir(&users).unwrap().count(), 0);
    }

    #[test]
    fn links_of_root_are_followed() {
        let Some((root, _, user)) = site() else {
            return;
        };
        fs::create_dir(root.path().join("run")).unwrap();
        symlink("run", root.path().join("var")).unwrap();
        assert!(prepared(&[&root.path().join("var/salt")], None, &user));
        assert_eq!(owner(&root.path().join("run/salt")), user.uid.as_raw());
    }
}
