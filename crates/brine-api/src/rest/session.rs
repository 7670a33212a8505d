//! Who is logged in: session tokens, what they stand for, and the moment they die.
//!
//! A session token leads to a token of Salt's, and lives no longer than that one. Sessions are known by the
//! digest of their token alone, in memory and on disk: whoever reads either cannot log in with it.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_auth::{Token, is_token};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{interval, sleep};

use super::operator::{Operator, OperatorError};
use crate::seldom::Seldom;
use crate::subject::{Origin, Subject};

/// How long a session lives unused: Salt's ten hours.
pub(super) const IDLE: Duration = Duration::from_secs(36_000);
/// The most sessions; when there are more, the one unused for longest of the user who has most ends.
const MOST: usize = 65_536;
/// How often is looked whether tokens that streams rely on still exist.
const CHECK: Duration = Duration::from_secs(1);
/// The digits of a session token, as in Salt.
const DIGITS: usize = 40;

/// What a session is known by.
type Key = [u8; 32];

/// Somebody who is logged in.
pub struct Session {
    subject: Subject,
    /// Salt's token behind it.
    token: String,
    expires: SystemTime,
    /// Seconds since the epoch.
    last_used: AtomicU64,
    has_ended: watch::Sender<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Session")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The session of a token of Salt's.
    #[must_use]
    pub fn new(token: &Token) -> Self {
        let seconds = token.expire.clamp(0.0, 1e12);
        Self {
            subject: Subject {
                origin: Origin::Login,
                user: token.name.clone(),
                groups: token.groups.clone(),
            },
            token: token.token.clone(),
            expires: UNIX_EPOCH + Duration::from_secs_f64(seconds),
            last_used: AtomicU64::new(seconds_now()),
            has_ended: watch::Sender::new(false),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Salt's token behind it: a secret.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether its token is still valid.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !*self.has_ended.borrow() && SystemTime::now() < self.expires
    }

    /// Done the moment the token dies: it expires, or is cleared.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut has_ended = self.has_ended.subscribe();
        let left = self.expires.duration_since(SystemTime::now());
        let left = left.unwrap_or(Duration::ZERO);
        async move {
            tokio::select! {
                () = sleep(left) => {}
                // An error means that the session itself is gone.
                _ = has_ended.wait_for(|has_ended| *has_ended) => {}
            }
        }
    }

    fn is_idle(&self) -> bool {
        let used = self.last_used.load(Ordering::Relaxed);
        // A stream uses its session as long as it lasts.
        self.has_ended.receiver_count() == 0 && seconds_now().saturating_sub(used) > IDLE.as_secs()
    }

    fn touch(&self) {
        self.last_used.store(seconds_now(), Ordering::Relaxed);
    }

    fn end(&self) {
        self.has_ended.send_replace(true);
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_key: Mutex<HashMap<Key, Arc<Session>>>,
    /// Those of clients that show Salt's token itself; kept as long as somebody uses them.
    of_salt: Mutex<HashMap<Key, Weak<Session>>>,
    directory: Option<PathBuf>,
}

impl Sessions {
    /// Sessions that outlive this process, in a directory.
    #[must_use]
    pub fn in_directory(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            ..Self::default()
        }
    }

    /// The session of a session token that is valid now.
    ///
    /// # Errors
    /// The token cannot be checked now.
    pub(super) async fn find(
        &self,
        token: &str,
        operator: &dyn Operator,
    ) -> Result<Option<Arc<Session>>, OperatorError> {
        if !is_session_token(token) {
            return Ok(None);
        }
        let key = key(token);
        let known = lock(&self.by_key).get(&key).cloned();
        let session = match known {
            Some(session) => session,
            None => match self.restore(key, operator).await? {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        if session.is_alive() && !session.is_idle() {
            session.touch();
            return Ok(Some(session));
        }
        self.end(token);
        Ok(None)
    }

    /// Whether a text is a session's token.
    pub(super) fn has(&self, token: &str) -> bool {
        let key = key(token);
        let is_kept = |directory: &PathBuf| path(directory, &key).exists();
        lock(&self.by_key).contains_key(&key) || self.directory.as_ref().is_some_and(is_kept)
    }

    /// The session of a client that shows Salt's token itself.
    ///
    /// # Errors
    /// The token cannot be checked now.
    pub(super) async fn of_salt_token(
        &self,
        token: &str,
        operator: &dyn Operator,
    ) -> Result<Option<Arc<Session>>, OperatorError> {
        if !is_token(token) {
            return Ok(None);
        }
        let Some(found) = operator.token(token).await? else {
            return Ok(None);
        };
        let key = key(token);
        let mut sessions = lock(&self.of_salt);
        sessions.retain(|_, session| session.strong_count() > 0);
        let known = sessions.get(&key).and_then(Weak::upgrade);
        let known = known.filter(|session| session.is_alive());
        let session = known.unwrap_or_else(|| {
            let session = Arc::new(Session::new(&found));
            sessions.insert(key, Arc::downgrade(&session));
            session
        });
        drop(sessions);
        Ok(session.is_alive().then_some(session))
    }

    /// Opens a session for a token of Salt's; the session's own token.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn open(&self, token: &Token) -> std::io::Result<(String, Arc<Session>)> {
        let text = draw()?;
        Ok((text.clone(), self.insert(&text, Session::new(token))))
    }

    /// Keeps a session under a token.
    pub fn insert(&self, token: &str, session: Session) -> Arc<Session> {
        let (key, session) = (key(token), Arc::new(session));
        if let Some(directory) = &self.directory
            && let Err(error) = write(directory, &key, &session.token)
        {
            tracing::warn!(err = %error, path = %directory.display(), "cannot store a session; its user must log in again after a restart");
        }
        let mut sessions = lock(&self.by_key);
        let evicted = (sessions.len() >= MOST)
            .then(|| make_room(&mut sessions))
            .flatten();
        sessions.insert(key, Arc::clone(&session));
        drop(sessions);
        if let Some(evicted) = evicted {
            self.remove_file(&evicted); // or it would come back
        }
        session
    }

    /// Ends a session: whatever streams under it stops.
    pub fn end(&self, token: &str) {
        let key = key(token);
        let ended = lock(&self.by_key).remove(&key);
        if let Some(session) = ended {
            session.end();
            // So do streams that show Salt's token itself.
            let salt = lock(&self.of_salt).remove(&self::key(&session.token));
            if let Some(session) = salt.and_then(|session| session.upgrade()) {
                session.end();
            }
        }
        self.remove_file(&key);
    }

    /// A session of before a restart.
    async fn restore(
        &self,
        key: Key,
        operator: &dyn Operator,
    ) -> Result<Option<Arc<Session>>, OperatorError> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let path = path(directory, &key);
        let token = match fs::read_to_string(&path) {
            Ok(token) => token,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let why = format!("cannot read the session {}: {error}", path.display());
                return Err(OperatorError::NoMaster(why));
            }
        };
        let Some(token) = operator.token(token.trim()).await? else {
            let _ = fs::remove_file(path); // expired; nothing is lost if it stays
            return Ok(None);
        };
        let session = Arc::new(Session::new(&token));
        lock(&self.by_key).insert(key, Arc::clone(&session));
        Ok(Some(session))
    }

    /// For ever: forgets sessions that are over, and ends those whose token of Salt's was removed by others while
    /// streams rely on it. Where a token cannot be read, nothing is known about it, and its session stays.
    pub(crate) async fn tend(&self, operator: &dyn Operator) {
        self.remove_stale_files(operator).await;
        let mut ticks = interval(CHECK);
        let warned = Seldom::default();
        loop {
            ticks.tick().await;
            self.end_those_revoked(operator, &warned).await;
            self.forget_those_over();
        }
    }

    async fn end_those_revoked(&self, operator: &dyn Operator, warned: &Seldom) {
        for session in self.streaming() {
            match operator.token(&session.token).await {
                Ok(Some(_)) => {}
                Ok(None) => session.end(),
                Err(error) if warned.may_be_told() => {
                    tracing::warn!(err = %error, user = session.subject.user, "cannot tell whether a session's token is still valid; its streams go on");
                }
                Err(_) => {}
            }
        }
    }

    /// Forgets sessions that have expired, or that nobody has used for a long time, with their files.
    fn forget_those_over(&self) {
        let is_over = |session: &Session| !session.is_alive() || session.is_idle();
        let over: Vec<_> = lock(&self.by_key)
            .extract_if(|_, session| is_over(session))
            .collect();
        for (key, session) in over {
            session.end();
            self.remove_file(&key);
        }
    }

    fn remove_file(&self, key: &Key) {
        if let Some(directory) = &self.directory {
            let _ = fs::remove_file(path(directory, key)); // mostly it is there
        }
    }

    /// Removes the files of sessions that ended while nothing ran.
    async fn remove_stale_files(&self, operator: &dyn Operator) {
        let files = self.directory.as_ref().map(fs::read_dir);
        for file in files.into_iter().flatten().flatten().flatten() {
            let Ok(token) = fs::read_to_string(file.path()) else {
                continue;
            };
            if operator.token(token.trim()).await == Ok(None) {
                let _ = fs::remove_file(file.path()); // nothing is lost if it stays
            }
        }
    }

    /// How many streams a user has open.
    pub(crate) fn streams_of(&self, user: &str) -> usize {
        let streaming = self.streaming();
        let own = streaming
            .iter()
            .filter(|session| session.subject.user == user);
        own.map(|session| session.has_ended.receiver_count()).sum()
    }

    fn streaming(&self) -> Vec<Arc<Session>> {
        let is_streaming = |session: &Arc<Session>| session.has_ended.receiver_count() > 0;
        let mut all: Vec<_> = lock(&self.by_key).values().cloned().collect();
        all.extend(lock(&self.of_salt).values().filter_map(Weak::upgrade));
        all.retain(is_streaming);
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after every operation, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the session unused for longest of the user who has most.
fn make_room(sessions: &mut HashMap<Key, Arc<Session>>) -> Option<Key> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for session in sessions.values() {
        *counts.entry(&session.subject.user).or_default() += 1;
    }
    let (&most, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let theirs = sessions
        .iter()
        .filter(|(_, session)| session.subject.user == most);
    let oldest = theirs.min_by_key(|(_, session)| session.last_used.load(Ordering::Relaxed));
    let key = oldest.map(|(key, _)| *key)?;
    sessions.remove(&key)?.end();
    Some(key)
}

fn is_session_token(text: &str) -> bool {
    text.len() == DIGITS && is_token(text)
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

/// A new session token: 160 random bits.
fn draw() -> std::io::Result<String> {
    let mut random = [0; DIGITS / 2];
    let mut filled = 0;
    while filled < random.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut random[filled..], flags)?;
    }
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn path(directory: &Path, key: &Key) -> PathBuf {
    let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(name)
}

fn write(directory: &Path, key: &Key, token: &str) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let mut options = fs::OpenOptions::new();
    // Made anew with its final mode: nobody has ever been able to open it.
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path(directory, key))?;
    file.write_all(token.as_bytes())
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use brine_auth::Login;
    use brine_wire::{Map, Value};

    use super::super::operator::{Credential, Low, OperatorError, Pending};
    use super::*;

    fn token_of(user: &str) -> Token {
        Token {
            token: "0".repeat(64),
            start: 0.0,
            expire: 4e9,
            name: user.into(),
            eauth: "auto".into(),
            groups: Vec::new(),
            auth_list: None,
        }
    }

    #[test]
    fn whoever_has_most_sessions_makes_room() {
        let root = tempfile::tempdir().unwrap();
        let directory = Some(root.path().to_owned());
        let mut sessions = Sessions::in_directory(directory.clone());
        let (_, other) = sessions.open(&token_of("ann")).unwrap();
        other.last_used.store(0, Ordering::Relaxed);
        let (token, first) = sessions.open(&token_of("fred")).unwrap();
        first.last_used.store(1, Ordering::Relaxed);
        sessions.directory = None; // tens of thousands of files take seconds
        for _ in 2..MOST {
            sessions.open(&token_of("fred")).unwrap();
        }
        sessions.directory = directory;
        assert!(first.is_alive() && sessions.has(&token));
        sessions.open(&token_of("fred")).unwrap();
        assert!(other.is_alive() && !first.is_alive());
        assert!(!sessions.has(&token), "its file is gone, too");
    }

    /// What a master says of every token.
    struct Says(Result<Option<Token>, OperatorError>);

    impl Operator for Says {
        fn is_running(&self) -> bool {
            true
        }

        fn log_in(&self, _: Login, _: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
            Box::pin(async { Err(OperatorError::Timeout) })
        }

        fn token<'a>(&'a self, _: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
            Box::pin(async { self.0.clone() })
        }

        fn revoke<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
            Box::pin(async {})
        }

        fn run(&self, _: Low, _: Credential) -> Pending<'_, Result<Value, OperatorError>> {
            Box::pin(async { Err(OperatorError::Timeout) })
        }

        fn fire<'a>(&'a self, _: &'a str, _: Map) -> Pending<'a, bool> {
            Box::pin(async { false })
        }
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_ends_no_session() {
        let root = tempfile::tempdir().unwrap();
        let here = || Sessions::in_directory(Some(root.path().to_owned()));
        let sessions = here();
        let (text, session) = sessions.open(&token_of("ann")).unwrap();
        let _stream = session.ended();
        let cannot_tell = Says(Err(OperatorError::Failed("Too many open files".into())));
        let after_restart = here();
        for _ in 0..2 {
            let warned = Seldom::default();
            sessions.end_those_revoked(&cannot_tell, &warned).await;
            sessions.forget_those_over();
            sessions.remove_stale_files(&cannot_tell).await;
            assert!(session.is_alive() && sessions.has(&text));
            // An error, not `None`: a client would take 401 for the end of its session.
            assert!(after_restart.find(&text, &cannot_tell).await.is_err());
        }
        let valid = Says(Ok(Some(token_of("ann"))));
        assert!(after_restart.find(&text, &valid).await.unwrap().is_some());
        let revoked = Says(Ok(None));
        sessions
            .end_those_revoked(&revoked, &Seldom::default())
            .await;
        assert!(!session.is_alive());
        sessions.remove_stale_files(&revoked).await;
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_session_that_nobody_uses_is_over_for_good() {
        let root = tempfile::tempdir().unwrap();
        let sessions = Sessions::in_directory(Some(root.path().to_owned()));
        let token = token_of("ann");
        let (used, used_session) = sessions.open(&token).unwrap();
        let (idle, idle_session) = sessions.open(&token).unwrap();
        let long_ago = seconds_now() - IDLE.as_secs() - 1;
        idle_session.last_used.store(long_ago, Ordering::Relaxed);
        sessions.forget_those_over();
        assert!(used_session.is_alive() && sessions.has(&used));
        assert!(!idle_session.is_alive() && !sessions.has(&idle));
    }
}
