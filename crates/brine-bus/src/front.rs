//! Takes the place of another bus's publish socket, and gives it back.
//!
//! All names are in the directory of the socket `…_event_pub.ipc`:
//!
//! | name | what it is |
//! | --- | --- |
//! | `…_event_pub.ipc` | while in front, one of ours; else the bus's own |
//! | `…_event_salt.ipc` | while in front, the bus's own |
//! | `…_event_bare.ipc`, `…_event_prefixed.ipc` | ours, one for each framing that subscribers may read |
//! | `…_event_brine.lock` | locked by the process in front, and removed by it |
//!
//! A socket accepts connections under every name that its file has. So ours stays where it was bound and gets a
//! second name, which is exchanged with the bus's own in one step: there is a socket at every moment. The inode tells
//! which of the two sockets a name refers to, even in a later process. A bus that restarts unlinks the file that has
//! its name and binds a new socket; then we take the place again. What real masters do with these names:
//! `docs/attach.md`.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brine_wire::frame::Framing;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::bus::Served;
use crate::listen::{BindError, Readers, Sockets};
use crate::watch::FileId;

/// Why a place cannot be taken or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The path is not one of a bus's publish sockets.
    #[error("{}: expected a socket named …_pub.ipc", .path.display())]
    NotAPublishSocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process is in front.
    #[error(
        "{}: another brine attach stands in front of this bus{}; end it first",
        .lock.display(), Pid(.pid)
    )]
    InUse {
        /// The file it has locked.
        lock: PathBuf,
        /// Its number, if it has said so.
        pid: Option<u32>,
    },
    /// A socket of ours cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses.
    #[error(
        "{}: {what}: {error}; run as the user that runs this bus, or without --in-front",
        .path.display()
    )]
    System {
        /// The path.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

struct Pid<'a>(&'a Option<u32>);

impl std::fmt::Display for Pid<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(out, " (pid {pid})"),
            None => Ok(()),
        }
    }
}

/// The names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    publish: PathBuf,
    aside: PathBuf,
    bare: PathBuf,
    prefixed: PathBuf,
    lock: PathBuf,
}

impl Names {
    fn new(publish: &Path) -> Result<Self, FrontError> {
        let name = publish.file_name().and_then(|name| name.to_str());
        let Some(stem) = name.and_then(|name| name.strip_suffix("_pub.ipc")) else {
            return Err(FrontError::NotAPublishSocket {
                path: publish.to_owned(),
            });
        };
        let named = |what: &str| publish.with_file_name(format!("{stem}_{what}"));
        Ok(Self {
            publish: publish.to_owned(),
            aside: named("salt.ipc"),
            bare: named("bare.ipc"),
            prefixed: named("prefixed.ipc"),
            lock: named("brine.lock"),
        })
    }

    /// Whether the bus's own socket answers, but only under its other name.
    fn is_left(&self) -> bool {
        let is_dead = |path: &Path| UnixStream::connect(path).is_err();
        FileId::at(&self.aside).is_some() && is_dead(&self.publish) && !is_dead(&self.aside)
    }

    fn own(&self, framing: Framing) -> &Path {
        match framing {
            Framing::Bare => &self.bare,
            Framing::Prefixed => &self.prefixed,
        }
    }
}

/// Whether a process that stood in front of the bus with this publish socket is gone and has not put the bus's own back:
/// clients find nobody.
#[must_use]
pub fn is_left(publish: &Path) -> bool {
    Names::new(publish).is_ok_and(|names| names.is_left())
}

/// The right to take the place of a bus's socket, held by one process and those to which it passes it on.
#[derive(Debug)]
pub struct FrontLock {
    names: Names,
    file: File,
}

/// The mode of a socket of ours to which everybody may connect. Its sticky bit, which means nothing for a socket, tells
/// it from one that somebody has set.
const OPEN: u32 = 0o1666;

/// How long a process that is ending, since the one that waits for it was killed perhaps, may take to give up its lock:
/// the bus alone has a second for its last event.
const ENDING: Duration = Duration::from_secs(3);

fn lock(file: &File) -> rustix::io::Result<()> {
    let deadline = Instant::now() + ENDING;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            locked => return locked,
        }
    }
}

impl FrontLock {
    /// Takes the right for the bus whose publish socket is at this path.
    ///
    /// # Errors
    /// [`FrontError::InUse`] and others.
    pub fn take(publish: &Path) -> Result<Self, FrontError> {
        let names = Names::new(publish)?;
        let refused = |error: io::Error| FrontError::System {
            path: names.lock.clone(),
            what: "cannot lock",
            error,
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        let (mut file, locked) = loop {
            let file = options.open(&names.lock).map_err(refused)?;
            let locked = lock(&file);
            // Whoever had it may have removed it meanwhile; then the next process would lock another file.
            let found = FileId::of(&file.metadata().map_err(refused)?);
            if locked.is_err() || FileId::at(&names.lock) == Some(found) {
                break (file, locked);
            }
        };
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid); // without it the text says less
                return Err(FrontError::InUse {
                    pid: pid.trim().parse().ok(),
                    lock: names.lock,
                });
            }
            Err(error) => return Err(refused(error.into())),
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(refused)?;
        Ok(Self { names, file })
    }

    /// The right of a process that was given the locked file.
    ///
    /// # Errors
    /// [`FrontError::NotAPublishSocket`].
    pub fn inherited(publish: &Path, file: OwnedFd) -> Result<Self, FrontError> {
        Ok(Self {
            names: Names::new(publish)?,
            file: file.into(),
        })
    }

    /// The locked file, for a process to inherit.
    ///
    /// # Errors
    /// The process has no more descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Does what [`Self::restore`] does, if somebody who is gone has stood in front; nothing while somebody does.
    ///
    /// # Errors
    /// [`FrontError`].
    pub fn restore_left(publish: &Path) -> Result<bool, FrontError> {
        if !Names::new(publish)?.lock.exists() {
            return Ok(false);
        }
        match Self::take(publish) {
            Ok(lock) => {
                let put_back = lock.restore()?;
                lock.release()?;
                Ok(put_back)
            }
            Err(FrontError::InUse { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the right up when nothing is left to put back; the file goes with it. Not while another process has
    /// inherited it.
    ///
    /// # Errors
    /// [`FrontError::System`].
    pub fn release(self) -> Result<(), FrontError> {
        remove(&self.names.lock)
    }

    /// Puts the bus's own socket back after a process in front of it has gone without doing so, and removes what that
    /// process left. Returns whether the bus's socket was put back.
    ///
    /// # Errors
    /// [`FrontError::System`].
    pub fn restore(&self) -> Result<bool, FrontError> {
        let names = &self.names;
        let own = [&names.bare, &names.prefixed].map(|path| FileId::at(path));
        let is_own = |found: FileId| own.contains(&Some(found));
        // If names were removed by hand, the only clue left is which socket answers.
        let stood_in_front = FileId::at(&names.publish).is_none_or(is_own) || names.is_left();
        let put_back = stood_in_front && put_back(names, &is_own)?;
        for path in [&names.aside, &names.bare, &names.prefixed] {
            remove(path)?;
        }
        Ok(put_back)
    }
}

/// Our sockets beside another bus's, and whether one is in its place.
#[derive(Debug)]
pub struct Front {
    names: Names,
    bare: FileId,
    prefixed: FileId,
    /// Whether the mode lets everybody connect, and `readers` decides who is served.
    is_open: bool,
    /// Held while names are exchanged, which leaving and a restart of the bus may both want.
    state: Mutex<State>,
    _lock: FrontLock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May take the place.
    Ready,
    /// Has given it back for good.
    Left,
}

impl Front {
    /// Binds sockets beside the bus's own, after putting back what an earlier process may have left. Each `Served`
    /// returned states the framing that its subscribers read. `readers` decides who may subscribe; under
    /// `Readers::Any` the mode of the bus's socket does.
    ///
    /// # Errors
    /// [`FrontError`].
    pub fn bind(lock: FrontLock, readers: &Readers) -> Result<(Self, Vec<Served>), FrontError> {
        lock.restore()?;
        let is_open = *readers != Readers::Any;
        let names = lock.names.clone();
        let bind = |framing| -> Result<(Served, FileId), FrontError> {
            let path = names.own(framing);
            let sockets = Sockets::bind_publish(path, 0o600)?.readable_by(readers.clone());
            let found = FileId::at(path).ok_or_else(|| system(path, "cannot find")(gone()))?;
            Ok((Served { sockets, framing }, found))
        };
        let (served_bare, bare) = bind(Framing::Bare)?;
        let (served_prefixed, prefixed) = bind(Framing::Prefixed)?;
        let front = Self {
            names,
            bare,
            prefixed,
            is_open,
            state: Mutex::new(State::Ready),
            _lock: lock,
        };
        Ok((front, vec![served_bare, served_prefixed]))
    }

    /// Where the bus's own socket is now.
    #[must_use]
    pub fn original(&self) -> &Path {
        if self.is_in_front() {
            &self.names.aside
        } else {
            &self.names.publish
        }
    }

    /// Whether one of ours is in its place.
    #[must_use]
    pub fn is_in_front(&self) -> bool {
        FileId::at(&self.names.publish).is_some_and(|found| self.is_own(found))
    }

    pub(crate) fn is_own(&self, found: FileId) -> bool {
        found == self.bare || found == self.prefixed
    }

    /// Puts the socket of this framing in the place of the bus's own, with the same mode and owner; `false` if the
    /// bus's own is not there.
    ///
    /// # Errors
    /// [`FrontError::System`].
    pub fn take(&self, framing: Framing) -> Result<bool, FrontError> {
        let state = self.state();
        if *state == State::Left || self.is_in_front() {
            return Ok(true);
        }
        let (own, names) = (self.names.own(framing), &self.names);
        let original = match fs::symlink_metadata(&names.publish) {
            Ok(metadata) if metadata.file_type().is_socket() => metadata,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(system(&names.publish, "cannot look at it")(error)),
        };
        look_like(own, &original, self.is_open)?;
        remove(&names.aside)?;
        fs::hard_link(own, &names.aside)
            .map_err(system(&names.aside, "cannot link to a socket of ours"))?;
        match exchange(&names.aside, &names.publish) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remove(&names.aside)?;
                return Ok(false);
            }
            Err(error) => {
                remove(&names.aside)?;
                return Err(system(&names.publish, "cannot take its place")(error));
            }
        }
        drop(state);
        tracing::info!(
            publish = %names.publish.display(), original = %names.aside.display(),
            "in front: new subscribers are served here"
        );
        Ok(true)
    }

    /// Puts the bus's own socket back in its place, for good.
    ///
    /// # Errors
    /// [`FrontError::System`].
    pub fn give_back(&self) -> Result<(), FrontError> {
        let mut state = self.state();
        *state = State::Left;
        if self.is_in_front() {
            put_back(&self.names, &|found| self.is_own(found))?;
            tracing::info!(publish = %self.names.publish.display(), "the bus's own socket is back in its place");
        }
        remove(&self.names.aside)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if *self.state() == State::Ready
            && let Err(error) = self.give_back()
        {
            tracing::error!(%error, "cannot put the bus's own socket back; run brine attach --restore");
        }
    }
}

/// Puts the bus's own socket back at its name, if ours or nothing is there; `false` if the bus left no socket.
fn put_back(names: &Names, is_own: &dyn Fn(FileId) -> bool) -> Result<bool, FrontError> {
    let refused = system(&names.publish, "cannot put the bus's own socket back");
    let original = match fs::symlink_metadata(&names.aside) {
        Ok(metadata) if !is_own(FileId::of(&metadata)) => metadata,
        _ => {
            // The bus has ended and left nothing: neither do we.
            if FileId::at(&names.publish).is_some_and(is_own) {
                remove(&names.publish)?;
            }
            return Ok(false);
        }
    };
    let ours = match fs::symlink_metadata(&names.publish) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::rename(&names.aside, &names.publish).map_err(refused)?;
            return Ok(true);
        }
        Err(error) => return Err(refused(error)),
    };
    // A mode that was changed meanwhile was meant for the bus's socket.
    let mode = ours.mode() & 0o7777;
    if mode != OPEN && mode != original.mode() & 0o7777 {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(&names.aside, mode)
            .map_err(system(&names.aside, "cannot set its mode"))?;
    }
    exchange(&names.aside, &names.publish).map_err(refused)?;
    if FileId::at(&names.aside) != Some(FileId::of(&ours)) {
        // The bus restarted at this very moment; its new socket is the right one.
        exchange(&names.aside, &names.publish).map_err(system(
            &names.publish,
            "cannot put the bus's new socket back",
        ))?;
    }
    Ok(true)
}

/// Gives a socket of ours the owner and the mode of the bus's, or lets everybody connect to it.
fn look_like(own: &Path, original: &Metadata, is_open: bool) -> Result<(), FrontError> {
    let refused = system(own, "cannot give it the owner and mode of the bus's socket");
    let set = || {
        let now = fs::symlink_metadata(own)?;
        if (now.uid(), now.gid()) != (original.uid(), original.gid()) {
            chown(own, Some(original.uid()), Some(original.gid()))?;
        }
        let mode = match is_open {
            true => OPEN,
            false => original.mode() & 0o7777,
        };
        fs::set_permissions(own, Permissions::from_mode(mode))
    };
    set().map_err(refused)
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

fn remove(path: &Path) -> Result<(), FrontError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(system(path, "cannot remove it")(error))
        }
        _ => Ok(()),
    }
}

fn system(path: &Path, what: &'static str) -> impl Fn(io::Error) -> FrontError {
    let path = path.to_owned();
    move |error| FrontError::System {
        path: path.clone(),
        what,
        error,
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    /// A directory with the socket of another bus, bound as Salt does.
    struct Site {
        directory: TempDir,
        salt: Option<UnixListener>,
    }

    impl Site {
        fn new() -> Self {
            let directory = TempDir::new().unwrap();
            let mut site = Self {
                directory,
                salt: None,
            };
            site.start_salt();
            site
        }

        fn start_salt(&mut self) {
            remove(&self.publish()).unwrap();
            let salt = UnixListener::bind(self.publish()).unwrap();
            salt.set_nonblocking(true).unwrap();
            fs::set_permissions(self.publish(), Permissions::from_mode(0o660)).unwrap();
            self.salt = Some(salt);
        }

        fn publish(&self) -> PathBuf {
            self.directory.path().join("master_event_pub.ipc")
        }

        fn lock(&self) -> FrontLock {
            FrontLock::take(&self.publish()).unwrap()
        }

        /// Whether a new connection to this name comes to Salt.
        fn leads_to_salt(&self, path: &Path) -> bool {
            let _connection = UnixStream::connect(path).unwrap();
            self.salt.as_ref().unwrap().accept().is_ok()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !name.ends_with(".lock"))
                .collect();
            names.sort();
            names
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn ours_takes_the_place_looks_the_same_and_gives_it_back() {
        let site = Site::new();
        let (front, _served) = Front::bind(site.lock(), &Readers::Any).unwrap();
        assert!(!front.is_in_front() && site.leads_to_salt(front.original()));
        for framing in [Framing::Bare, Framing::Prefixed] {
            assert!(front.take(framing).unwrap());
        }
        assert!(front.is_in_front() && !site.leads_to_salt(&site.publish()));
        assert!(site.leads_to_salt(front.original()));
        assert_eq!(mode(&site.publish()), 0o660);

        front.give_back().unwrap();
        assert!(site.leads_to_salt(&site.publish()));
        // Given back for good.
        front.take(Framing::Bare).unwrap();
        assert!(site.leads_to_salt(&site.publish()));
        drop((front, _served));
        assert_eq!(site.names(), ["master_event_pub.ipc"]);
    }

    #[test]
    fn a_bus_that_restarts_has_its_place_until_it_is_taken_again() {
        let mut site = Site::new();
        let (front, _served) = Front::bind(site.lock(), &Readers::Any).unwrap();
        front.take(Framing::Bare).unwrap();
        site.salt = None;
        // Its socket is dead, and ours still answers.
        assert!(UnixStream::connect(front.original()).is_err());
        assert!(UnixStream::connect(site.publish()).is_ok());
        site.start_salt();
        assert!(!front.is_in_front() && front.original() == site.publish());
        front.take(Framing::Bare).unwrap();
        assert!(!site.leads_to_salt(&site.publish()) && site.leads_to_salt(front.original()));
        drop(front);
        assert!(site.leads_to_salt(&site.publish()));
    }

    /// What is left by a process that was killed at any moment.
    #[test]
    fn the_next_process_puts_back_what_a_killed_one_left() {
        let kill = |front: Front, served: Vec<Served>| {
            // Nothing of it runs any more, and its sockets are closed; its names stay.
            *front.state() = State::Left;
            let names = front.names.clone();
            let kept = |path: &Path| path.with_extension("kept");
            for path in [&names.bare, &names.prefixed] {
                fs::hard_link(path, kept(path)).unwrap();
            }
            drop((front, served));
            for path in [&names.bare, &names.prefixed] {
                fs::rename(kept(path), path).unwrap();
            }
        };
        for moment in ["before", "between", "in front", "restarted", "ended"] {
            let mut site = Site::new();
            let (front, served) = Front::bind(site.lock(), &Readers::Any).unwrap();
            match moment {
                "between" => fs::hard_link(&front.names.bare, &front.names.aside).unwrap(),
                "before" => {}
                _ => drop(front.take(Framing::Bare).unwrap()),
            }
            kill(front, served);
            match moment {
                "restarted" => site.start_salt(),
                "ended" => site.salt = None,
                _ => {}
            }
            let put_back = site.lock().restore().unwrap();
            assert_eq!(
                put_back,
                ["in front", "ended"].contains(&moment),
                "{moment}"
            );
            assert_eq!(site.names(), ["master_event_pub.ipc"], "{moment}");
            if site.salt.is_some() {
                assert!(site.leads_to_salt(&site.publish()), "{moment}");
            }
            assert!(!site.lock().restore().unwrap(), "once is enough");
        }
    }

    #[test]
    fn a_mode_set_while_ours_is_in_the_place_is_the_original_s() {
        let site = Site::new();
        let (front, _served) = Front::bind(site.lock(), &Readers::Any).unwrap();
        front.take(Framing::Bare).unwrap();
        fs::set_permissions(site.publish(), Permissions::from_mode(0o600)).unwrap();
        front.give_back().unwrap();
        assert_eq!(mode(&site.publish()), 0o600);
    }

    #[test]
    fn a_second_process_is_refused() {
        let site = Site::new();
        let lock = site.lock();
        let refused = FrontLock::take(&site.publish()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(refused, FrontError::InUse { pid: Some(found), .. } if found == pid));
        let child = FrontLock::inherited(&site.publish(), lock.share().unwrap()).unwrap();
        drop(lock);
        assert!(FrontLock::take(&site.publish()).is_err());
        drop(child);
        site.lock();
    }

    #[test]
    fn the_lock_goes_with_who_has_put_everything_back() {
        let site = Site::new();
        let lock_file = site.publish().with_file_name("master_event_brine.lock");
        let lock = site.lock();
        assert!(lock_file.exists());
        lock.release().unwrap();
        assert!(!lock_file.exists());
        // A process that was killed leaves it, and the next start takes it away.
        drop(site.lock());
        assert!(!FrontLock::restore_left(&site.publish()).unwrap());
        assert!(!lock_file.exists());
    }

    /// A file that is removed while somebody waits for it must not be locked in vain.
    #[test]
    fn a_lock_is_of_the_file_that_is_there() {
        let site = Site::new();
        let first = site.lock();
        let publish = site.publish();
        let second = std::thread::spawn(move || FrontLock::take(&publish));
        first.release().unwrap();
        match second.join().unwrap() {
            // It came while the first still had it.
            Err(FrontError::InUse { .. }) => {}
            second => {
                let second = second.unwrap();
                assert!(FrontLock::take(&site.publish()).is_err());
                drop(second);
            }
        }
    }

    #[test]
    fn where_a_list_says_who_is_served_everybody_connects_and_the_bus_keeps_its_mode() {
        let site = Site::new();
        let before = mode(&site.publish());
        let (front, served) = Front::bind(site.lock(), &Readers::Users(vec![7])).unwrap();
        assert!(front.take(Framing::Bare).unwrap());
        assert_eq!(mode(&site.publish()), OPEN);
        front.give_back().unwrap();
        assert_eq!(mode(&site.publish()), before);
        drop((front, served));
        // For a process that restores the socket and does not know how it was opened.
        let (front, _served) = Front::bind(site.lock(), &Readers::Users(vec![7])).unwrap();
        assert!(front.take(Framing::Bare).unwrap());
        std::mem::forget(front);
        fs::remove_file(site.publish().with_file_name("master_event_brine.lock")).unwrap();
        assert!(site.lock().restore().unwrap());
        assert_eq!(mode(&site.publish()), before);
    }

    #[test]
    fn nothing_is_taken_from_a_bus_that_is_not_there() {
        let mut site = Site::new();
        let (front, _served) = Front::bind(site.lock(), &Readers::Any).unwrap();
        site.salt = None;
        fs::remove_file(site.publish()).unwrap();
        assert!(!front.take(Framing::Bare).unwrap());
        assert_eq!(
            site.names(),
            ["master_event_bare.ipc", "master_event_prefixed.ipc"]
        );
        assert!(FrontLock::take(Path::new("/tmp/brine.sock")).is_err());
    }
}
