//! Signing in: the 23 answers of the golden vectors, and both of our sides with each other.

use std::fs;
use std::time::{Duration, SystemTime};

use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::keys::master::KeyOptions;
use brine_net::keys::minion::MinionKeys;
use brine_net::keys::sessions;
use brine_net::keys::store::{KeyState, StoredKey};
use brine_net::master::{self, MasterChannel, MasterConfig, Occupancy, Refused};
use brine_net::minion::{Answer, Distrust, MustBeSigned, OpenReplyError, Session, SignIn, Trust};
use brine_net::replay::Seen;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::auth::{AuthRequest, Ret};
use brine_wire::network::payload::{Encrypted, Payload};
use brine_wire::network::publish::Publish;
use brine_wire::network::{MinionId, VERSION, request};
use brine_wire::{Map, Value, msgpack};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::vectors::{from_hex, named, text, vectors};

#[test]
fn answers_are_judged_as_real_minions_judge_them() {
    let vectors = vectors();
    let rows = vectors["auth_replies_judged"]["cases"].as_array().unwrap();
    assert_eq!(rows.len(), 23);
    let built = &vectors["auth_built"];
    let own = named(&vectors, "minion");
    for row in rows {
        let known = row["minion_has_master_key"].as_bool().unwrap();
        let name = if known {
            "request"
        } else {
            "request_first_contact_without_token"
        };
        let Ok(Payload::Clear { load, .. }) = Payload::parse(&from_hex(&built[name]), 3) else {
            panic!("a sign-in is clear");
        };
        let trust = Trust {
            master: known.then(|| named(&vectors, "master").public().clone()),
            ..Trust::default()
        };
        let token = known.then(|| Zeroizing::new(text(&built["token_plain"]).to_owned()));
        let sign_in = SignIn::resume(AuthRequest::parse(&load).unwrap(), token, trust);
        let reply = msgpack::decode_network(&from_hex(&row["reply"])).unwrap();
        let concluded = match sign_in.judge(&reply, &own) {
            Ok(Answer::Accepted(session)) => {
                assert_eq!(session.aes(), text(&built["aes"]));
                "accept"
            }
            Ok(Answer::Pending) => "wait-and-retry",
            Ok(Answer::Full) => "full",
            Ok(Answer::BadAlgorithm { .. }) => "give-up",
            Ok(Answer::Rejected) => "rejected",
            Ok(Answer::Unproven { .. }) => "unproven",
            Err(_) => "refuse",
        };
        assert_eq!(concluded, text(&row["expect"]), "{}", row["case"]);
    }
}

struct Pair {
    root: TempDir,
    master: MasterChannel,
    minion: PrivateKey,
    id: MinionId,
}

impl Pair {
    fn new(change: impl FnOnce(&mut MasterConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = MasterConfig::new(root.path().join("pki"), root.path().join("cache"));
        change(&mut config);
        fs::create_dir(root.path().join("cache")).unwrap();
        Self {
            master: MasterChannel::open(config).unwrap(),
            minion: PrivateKey::generate(2048).unwrap(),
            id: MinionId::parse("m1").unwrap(),
            root,
        }
    }

    fn sign_in(&self, trust: Trust) -> Result<Answer, Distrust> {
        self.attempt(trust).0
    }

    /// The answer as the minion judges it, and what the master did.
    fn attempt(&self, trust: Trust) -> (Result<Answer, Distrust>, master::SignIn) {
        let sign_in = SignIn::begin(&self.id, &self.minion, trust, Map::new()).unwrap();
        let Ok(Payload::Clear { load, .. }) = Payload::from_value(sign_in.payload(), 3) else {
            panic!("a sign-in is clear");
        };
        let made = self
            .master
            .sign_in(&load, Occupancy::default(), SystemTime::now())
            .unwrap();
        (sign_in.judge(&made.reply, &self.minion), made)
    }

    fn knowing(&self) -> Trust {
        Trust {
            master: Some(self.master.public().clone()),
            ..Trust::default()
        }
    }

    fn session(&self) -> Session {
        match self.sign_in(self.knowing()).unwrap() {
            Answer::Accepted(session) => *session,
            other => panic!("expected to be let in, found {other:?}"),
        }
    }

    fn open(&self, payload: &Value) -> Result<master::Request, Refused> {
        self.master
            .open_request(&encrypted(payload), SystemTime::now())
    }
}

fn encrypted(payload: &Value) -> Encrypted {
    match Payload::from_value(payload.clone(), 3).unwrap() {
        Payload::Encrypted(encrypted) => encrypted,
        Payload::Clear { .. } => panic!("expected an encrypted request"),
    }
}

fn accepting(config: &mut MasterConfig) {
    config.rules.auto_accept = true;
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs().try_into().unwrap()
}

fn cmd(name: &str) -> Map {
    [("cmd", name), ("id", "m1")].into_iter().collect()
}

#[test]
fn a_key_waits_until_somebody_accepts_it() {
    let pair = Pair::new(|_| {});
    assert!(matches!(
        pair.sign_in(Trust::default()),
        Ok(Answer::Unproven { ret: Ret::Pending })
    ));
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Pending)));
    let store = pair.master.store();
    assert_eq!(
        store.list(KeyState::Pending).unwrap(),
        std::slice::from_ref(&pair.id)
    );
    let transfer = |from, to| {
        store
            .change()
            .unwrap()
            .transfer(&pair.id, from, to)
            .unwrap()
    };
    transfer(KeyState::Pending, KeyState::Accepted);
    assert!(matches!(
        pair.sign_in(pair.knowing()),
        Ok(Answer::Accepted(_))
    ));
    transfer(KeyState::Accepted, KeyState::Rejected);
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Rejected)));
}

#[test]
fn another_key_for_a_known_id_is_denied() {
    let mut pair = Pair::new(|_| {});
    let first = pair.minion.public().clone();
    let store = pair.master.store();
    (store.change().unwrap())
        .set(&pair.id, KeyState::Accepted, &first)
        .unwrap();
    pair.minion = PrivateKey::generate(2048).unwrap();
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Rejected)));
    assert_eq!(
        pair.master.store().list(KeyState::Denied).unwrap(),
        std::slice::from_ref(&pair.id)
    );
    assert_eq!(
        pair.master
            .store()
            .get(KeyState::Accepted, &pair.id)
            .unwrap(),
        Some(StoredKey::Key(first))
    );
}

#[test]
fn requests_replies_publishes_and_pillars_pass_between_both_sides() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let sealed = session.seal(cmd("_minion_event"), now()).unwrap();
    let request = pair.open(&sealed.payload).unwrap();
    assert_eq!(request.minion.id(), &pair.id);
    assert_eq!(request.load.cmd.as_deref(), Some("_minion_event"));
    assert_eq!(request.seen, Seen::First);
    assert_eq!(pair.open(&sealed.payload).unwrap().seen, Seen::Again);
    let reply = request.seal(&"done".into()).unwrap();
    assert_eq!(session.open(&reply, &sealed.nonce).unwrap(), "done".into());
    let other = session.seal(cmd("x"), now()).unwrap();
    assert_eq!(
        session.open(&reply, &other.nonce),
        Err(OpenReplyError::OtherReply)
    );
    let text = OpenReplyError::SignInAgain {
        text: Some("bad load".into()),
    };
    assert_eq!(session.open(&"bad load".into(), &other.nonce), Err(text));

    let pillar: Map = [("a", 1)].into_iter().collect();
    let sealed = session.seal(cmd("_pillar"), now()).unwrap();
    let request = pair.open(&sealed.payload).unwrap();
    let reply = pair.master.seal_pillar(&request, pillar.clone()).unwrap();
    assert_eq!(
        session.open_pillar(&reply, &sealed.nonce, &pair.minion),
        Ok(pillar)
    );
    assert_eq!(
        session.open_pillar(&reply, &other.nonce, &pair.minion),
        Err(OpenReplyError::Pillar)
    );

    let bytes = pair.master.publish(cmd("job")).unwrap();
    let publish = Publish::parse(&bytes).unwrap();
    assert_eq!(
        session.open_publish(&publish, MustBeSigned::Yes).unwrap(),
        cmd("job")
    );
    assert_eq!(
        session.open_publish(&publish, MustBeSigned::Yes),
        Err(OpenReplyError::Replayed)
    );
    let mut forged = Publish::parse(&pair.master.publish(cmd("job")).unwrap()).unwrap();
    forged.signature.as_mut().unwrap().sig[0] ^= 1;
    assert_eq!(
        session.open_publish(&forged, MustBeSigned::No),
        Err(OpenReplyError::PublishSignature)
    );
    forged.signature = None;
    assert_eq!(
        session.open_publish(&forged, MustBeSigned::Yes),
        Err(OpenReplyError::PublishSignature)
    );
    assert_eq!(
        session.open_publish(&forged, MustBeSigned::No),
        Err(OpenReplyError::PublishSignature)
    );
}

#[test]
fn a_master_that_has_signed_publishes_is_believed_no_unsigned_one() {
    let pair = Pair::new(accepting);
    let keys = MinionKeys::open(pair.root.path().join("minion"), &KeyOptions::default()).unwrap();
    let session = || {
        let trust = Trust {
            signing_record: Some(keys.signing_record()),
            ..pair.knowing()
        };
        match pair.sign_in(trust).unwrap() {
            Answer::Accepted(session) => session,
            other => panic!("expected to be let in, found {other:?}"),
        }
    };
    let signed = || Publish::parse(&pair.master.publish(cmd("job")).unwrap()).unwrap();
    let unsigned = || Publish {
        signature: None,
        ..signed()
    };
    let before = session();
    assert!(before.open_publish(&unsigned(), MustBeSigned::No).is_ok());
    assert!(before.open_publish(&signed(), MustBeSigned::No).is_ok());
    let refused = Err(OpenReplyError::PublishSignature);
    assert_eq!(before.open_publish(&unsigned(), MustBeSigned::No), refused);
    // After a restart of the minion too, but not for another master.
    assert_eq!(
        session().open_publish(&unsigned(), MustBeSigned::No),
        refused
    );
    assert!(session().open_publish(&signed(), MustBeSigned::No).is_ok());
    let other = PrivateKey::generate(2048).unwrap();
    assert!(keys.signing_record().names(pair.master.public()));
    assert!(!keys.signing_record().names(other.public()));
}

#[test]
fn a_publish_that_was_read_before_signing_in_again_is_not_read_again() {
    let pair = Pair::new(accepting);
    let keys = MinionKeys::open(pair.root.path().join("minion"), &KeyOptions::default()).unwrap();
    let session = || {
        let trust = Trust {
            serials: keys.serials.clone(),
            ..pair.knowing()
        };
        match pair.sign_in(trust).unwrap() {
            Answer::Accepted(session) => session,
            other => panic!("expected to be let in, found {other:?}"),
        }
    };
    let publish = || Publish::parse(&pair.master.publish(cmd("job")).unwrap()).unwrap();
    let (first, second) = (publish(), publish());
    assert!(session().open_publish(&first, MustBeSigned::No).is_ok());
    let again = session();
    let read = again.open_publish(&first, MustBeSigned::No);
    assert_eq!(read, Err(OpenReplyError::Replayed));
    assert!(again.open_publish(&second, MustBeSigned::No).is_ok());
    // Under another shared key the numbers begin anew.
    pair.master.rotate().unwrap();
    assert!(session().open_publish(&publish(), MustBeSigned::No).is_ok());
}

#[test]
fn with_fips_mode_nothing_rests_on_sha1() {
    let pair = Pair::new(|config| {
        accepting(config);
        config.refuse_sha1 = true;
        config.publish_signing_algorithm = Some(SigningAlgorithm::Pkcs1v15Sha224);
    });
    let trust = |encryption, signing| Trust {
        encryption,
        signing,
        refuse_sha1: true,
        ..Trust::default()
    };
    let (old, new) = (
        EncryptionAlgorithm::OaepSha1,
        EncryptionAlgorithm::OaepSha224,
    );
    for (encryption, signing, refusal) in [
        (new, SigningAlgorithm::Pkcs1v15Sha1, "bad sig algo"),
        (old, SigningAlgorithm::Pkcs1v15Sha224, "bad enc algo"),
    ] {
        match pair.sign_in(trust(encryption, signing)) {
            Ok(Answer::BadAlgorithm { ret }) => assert_eq!(ret, refusal),
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
    assert_eq!(pair.master.store().find(&pair.id).unwrap(), None);
    let answer = pair.sign_in(trust(new, SigningAlgorithm::Pkcs1v15Sha224));
    let Ok(Answer::Accepted(session)) = answer else {
        panic!("expected to be let in, found {answer:?}");
    };
    let publish = Publish::parse(&pair.master.publish(cmd("job")).unwrap()).unwrap();
    assert!(session.open_publish(&publish, MustBeSigned::Yes).is_ok());
    // A minion does not believe another master's SHA-1 either.
    let lax = Pair::new(accepting);
    let answer = lax.sign_in(trust(new, SigningAlgorithm::Pkcs1v15Sha224));
    let Ok(Answer::Accepted(session)) = answer else {
        panic!("expected to be let in, found {answer:?}");
    };
    let publish = Publish::parse(&lax.master.publish(cmd("job")).unwrap()).unwrap();
    let read = session.open_publish(&publish, MustBeSigned::No);
    assert_eq!(read, Err(OpenReplyError::PublishSignature));
}

#[test]
fn a_request_is_not_acted_on_again_after_many_others_or_a_restart() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let first = session.seal(cmd("x"), now()).unwrap().payload;
    assert_eq!(pair.open(&first).unwrap().seen, Seen::First);
    for _ in 0..200 {
        let other = session.seal(cmd("x"), now()).unwrap().payload;
        assert_eq!(pair.open(&other).unwrap().seen, Seen::First);
    }
    assert_eq!(pair.open(&first).unwrap().seen, Seen::Again);
    let config = MasterConfig::new(pair.root.path().join("pki"), pair.root.path().join("cache"));
    let restarted = MasterChannel::open(config).unwrap();
    let again = restarted.open_request(&encrypted(&first), SystemTime::now());
    assert_eq!(again.unwrap().seen, Seen::Again);
    // A slow clock is served, after a restart too.
    let slow = session.seal(cmd("x"), now() - 250).unwrap().payload;
    let served = restarted.open_request(&encrypted(&slow), SystemTime::now());
    assert_eq!(served.unwrap().seen, Seen::First);
    let later = SystemTime::now() + Duration::from_secs(400);
    let refused = restarted.open_request(&encrypted(&first), later);
    assert!(refused.unwrap_err().to_string().contains("s behind"));
}

#[test]
fn a_rotated_key_asks_for_another_sign_in_and_identifies_once_more() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let identification = session.identification().unwrap();
    assert_eq!(pair.master.identify(&identification), Some(pair.id.clone()));
    pair.master.rotate().unwrap();
    assert_eq!(pair.master.identify(&identification), Some(pair.id.clone()));
    let publish = Publish::parse(&pair.master.publish(cmd("job")).unwrap()).unwrap();
    assert_eq!(
        session.open_publish(&publish, MustBeSigned::No),
        Err(OpenReplyError::SignInAgain { text: None })
    );
    let again = pair.session();
    assert!(again.open_publish(&publish, MustBeSigned::No).is_ok());
    pair.master.rotate().unwrap();
    assert_eq!(pair.master.identify(&identification), None);
    // The session key is not the shared key: requests go on.
    assert!(
        pair.open(&session.seal(cmd("x"), now()).unwrap().payload)
            .is_ok()
    );
}

#[test]
fn a_restarted_master_reads_requests_and_identifications_of_before() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let config = MasterConfig::new(pair.root.path().join("pki"), pair.root.path().join("cache"));
    let restarted = MasterChannel::open(config).unwrap();
    assert_eq!(restarted.public().pem(), pair.master.public().pem());
    let sealed = session.seal(cmd("x"), now()).unwrap();
    assert!(
        restarted
            .open_request(&encrypted(&sealed.payload), SystemTime::now())
            .is_ok()
    );
    let identification = session.identification().unwrap();
    assert_eq!(restarted.identify(&identification), Some(pair.id));
}

#[test]
fn nobody_speaks_for_another_and_strangers_leave_nothing() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let mut other = cmd("_return");
    other.insert("id", "m2");
    let payload = session.seal(other, now()).unwrap().payload;
    assert!(matches!(pair.open(&payload), Err(Refused::Load { .. })));

    let mut renamed = encrypted(&session.seal(cmd("x"), now()).unwrap().payload);
    renamed.id = Some(MinionId::parse("stranger").unwrap());
    let refused = pair.master.open_request(&renamed, SystemTime::now());
    assert!(matches!(refused, Err(Refused::Unknown { .. })));
    assert!(!pair.root.path().join("cache/sessions/stranger").exists());

    pair.master.revoke(&pair.id).unwrap();
    let payload = session.seal(cmd("x"), now()).unwrap().payload;
    assert!(matches!(pair.open(&payload), Err(Refused::Unknown { .. })));
}

#[test]
fn a_removed_minion_cannot_act_as_its_successor() {
    let mut pair = Pair::new(accepting);
    let removed = pair.session();
    let request = |session: &Session| session.seal(cmd("x"), now()).unwrap().payload;
    assert!(pair.open(&request(&removed)).is_ok());
    // As salt-key does it: in another process, on the files alone.
    let store = pair.master.store().clone();
    let delete = || store.change().unwrap().delete(KeyState::Accepted, &pair.id);
    assert!(delete().unwrap());
    let refused = pair.open(&request(&removed));
    assert!(matches!(refused, Err(Refused::Unknown { .. })));
    pair.minion = PrivateKey::generate(2048).unwrap();
    let successor = pair.session();
    assert!(pair.open(&request(&successor)).is_ok());
    let refused = pair.open(&request(&removed));
    assert!(matches!(refused, Err(Refused::Seal { .. })));
    let config = MasterConfig::new(pair.root.path().join("pki"), pair.root.path().join("cache"));
    let restarted = MasterChannel::open(config).unwrap();
    let open = |payload| restarted.open_request(&encrypted(&payload), SystemTime::now());
    let refused = open(request(&removed));
    assert!(matches!(refused, Err(Refused::Seal { .. })));
    assert!(open(request(&successor)).is_ok());
}

#[test]
fn a_session_that_was_ended_stays_ended_when_the_key_is_accepted_again() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let request = || session.seal(cmd("x"), now()).unwrap().payload;
    let changing = || pair.master.store().change().unwrap();
    for (from, to) in [
        (KeyState::Accepted, KeyState::Rejected),
        (KeyState::Rejected, KeyState::Accepted),
    ] {
        sessions::end(&pair.root.path().join("cache"), &pair.id).unwrap();
        changing().transfer(&pair.id, from, to).unwrap();
        assert!(pair.open(&request()).is_err());
    }
    assert!(
        pair.open(&pair.session().seal(cmd("x"), now()).unwrap().payload)
            .is_ok()
    );
}

#[test]
fn of_two_keys_that_come_at_once_one_is_accepted_and_stays() {
    let pair = Pair::new(accepting);
    let keys = [0; 2].map(|_| PrivateKey::generate(2048).unwrap());
    for round in 0..40 {
        let id = MinionId::parse(&format!("m{round}")).unwrap();
        let sign_in = |key: &PrivateKey| {
            let sign_in = SignIn::begin(&id, key, Trust::default(), Map::new()).unwrap();
            let Ok(Payload::Clear { load, .. }) = Payload::from_value(sign_in.payload(), 3) else {
                panic!("a sign-in is clear");
            };
            let now = SystemTime::now();
            let made = pair
                .master
                .sign_in(&load, Occupancy::default(), now)
                .unwrap();
            matches!(sign_in.judge(&made.reply, key), Ok(Answer::Accepted(_)))
        };
        let [one, other] = std::thread::scope(|scope| {
            let threads = keys.each_ref().map(|key| scope.spawn(|| sign_in(key)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(one ^ other, "round {round}: {one} and {other}");
        let accepted = keys[usize::from(other)].public().clone();
        let stored = pair.master.store().get(KeyState::Accepted, &id).unwrap();
        assert_eq!(stored, Some(StoredKey::Key(accepted)), "round {round}");
    }
}

#[test]
fn new_ids_hold_nothing_that_cannot_be_seen_or_that_a_shell_acts_on() {
    let mut pair = Pair::new(accepting);
    for id in [
        "*",
        "-y",
        "$(reboot)",
        "a;b",
        "a|b",
        "a\"b",
        "m1\u{200b}",
        "m\u{202e}1",
        "e\u{301}",
        "m1 ",
        "\u{3164}",
        "\u{212a}",
        "\u{1112}\u{1161}",
        "a?",
        "[m]",
        "{m}",
        "~root",
        "m\u{ad}",
    ] {
        pair.id = MinionId::parse(id).unwrap();
        assert!(
            !matches!(pair.sign_in(Trust::default()), Ok(Answer::Accepted(_))),
            "{id:?}"
        );
        assert_eq!(pair.master.store().find(&pair.id).unwrap(), None, "{id:?}");
    }
    for id in [
        "m1",
        "web-01.example.com",
        "a_b",
        "10.0.0.1",
        "fe80::1",
        "a@b",
        "Büro 2",
        "ключ",
        "東京",
        "서울",
    ] {
        pair.id = MinionId::parse(id).unwrap();
        assert!(
            matches!(pair.sign_in(Trust::default()), Ok(Answer::Accepted(_))),
            "{id:?}"
        );
    }
    // One that was accepted before, or that the administrator put there, goes on.
    pair.id = MinionId::parse("old*").unwrap();
    let key = pair.minion.public();
    let changing = pair.master.store().change().unwrap();
    changing.set(&pair.id, KeyState::Accepted, key).unwrap();
    drop(changing);
    assert!(matches!(
        pair.sign_in(Trust::default()),
        Ok(Answer::Accepted(_))
    ));
}

#[test]
fn a_session_key_without_the_minions_own_is_not_enough() {
    let pair = Pair::new(accepting);
    let session = pair.session();
    let key = fs::read_to_string(pair.root.path().join("cache/sessions/m1")).unwrap();
    let key = brine_net::crypto::crypticle::Key::parse(&key).unwrap();
    let mut load = cmd("_return");
    let forged = PrivateKey::generate(2048)
        .unwrap()
        .sign_x931(b"salt")
        .unwrap();
    let nonce = brine_net::crypto::nonce().unwrap();
    request::complete(&mut load, &nonce, now(), &forged);
    let mut payload = encrypted(&session.seal(cmd("x"), now()).unwrap().payload);
    payload.load = key.seal(&Value::Map(load), None).unwrap();
    assert_eq!(payload.version, VERSION);
    let refused = pair.master.open_request(&payload, SystemTime::now());
    assert!(matches!(refused, Err(Refused::Token { .. })));
}

#[test]
fn old_and_future_requests_are_refused_with_a_window() {
    let pair = Pair::new(|config| {
        accepting(config);
        config.request_server_ttl = Some(Duration::from_secs(60));
    });
    let session = pair.session();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    for (ts, fine) in [(now, true), (now - 120, false), (now + 120, false)] {
        let payload = session.seal(cmd("x"), ts).unwrap().payload;
        assert_eq!(pair.open(&payload).is_ok(), fine, "{}", ts - now);
    }
}

#[test]
fn rubbish_for_a_key_blocks_no_id() {
    let pair = Pair::new(accepting);
    for pem in [
        "rubbish",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "",
    ] {
        let load: Map = [("cmd", "_auth"), ("id", "m1"), ("pub", pem)]
            .into_iter()
            .collect();
        let made = pair
            .master
            .sign_in(&load, Occupancy::default(), SystemTime::now())
            .unwrap();
        assert_eq!((made.event, made.accepted), (None, None));
    }
    for state in KeyState::ALL {
        assert_eq!(pair.master.store().list(state).unwrap(), []);
    }
    assert!(matches!(
        pair.sign_in(pair.knowing()),
        Ok(Answer::Accepted(_))
    ));
}

#[test]
fn a_full_master_takes_those_it_has() {
    let pair = Pair::new(|config| {
        accepting(config);
        config.max_minions = 2;
    });
    let sign_in = SignIn::begin(&pair.id, &pair.minion, pair.knowing(), Map::new()).unwrap();
    let Ok(Payload::Clear { load, .. }) = Payload::from_value(sign_in.payload(), 3) else {
        panic!("a sign-in is clear");
    };
    for (connected, present, full) in [(2, false, false), (3, false, true), (3, true, false)] {
        let occupancy = Occupancy {
            connected,
            includes_sender: present,
        };
        let made = pair
            .master
            .sign_in(&load, occupancy, SystemTime::now())
            .unwrap();
        let answer = sign_in.judge(&made.reply, &pair.minion).unwrap();
        assert_eq!(matches!(answer, Answer::Full), full, "{occupancy:?}");
    }
}

#[test]
fn a_master_signed_by_a_known_key_replaces_the_one_trusted() {
    let pair = Pair::new(|config| {
        accepting(config);
        config.pubkey_signature = Some(brine_net::keys::master::PubkeySignature {
            sign_key_name: "master_sign".into(),
            precomputed: None,
        });
    });
    let pem = fs::read_to_string(pair.root.path().join("pki/master_sign.pub")).unwrap();
    let signer = PublicKey::from_pem(&pem).unwrap();
    let other = PrivateKey::generate(2048).unwrap();
    let trust = |by: Option<&PublicKey>| Trust {
        master: None,
        master_sign: by.cloned(),
        ..Trust::default()
    };
    assert!(matches!(
        pair.sign_in(trust(Some(&signer))),
        Ok(Answer::Accepted(_))
    ));
    let wrong = pair.sign_in(trust(Some(other.public()))).unwrap_err();
    assert_eq!(wrong, Distrust::KeySignature);
    assert_eq!(
        pair.sign_in(trust(None)).unwrap_err(),
        Distrust::KeySignatureUnexpected
    );
}

#[test]
fn so_many_keys_may_be_pending_and_a_repeated_attempt_writes_nothing() {
    let mut pair = Pair::new(|config| config.max_pending_keys = 2);
    for id in ["m1", "m2", "m3", "m2"] {
        pair.id = MinionId::parse(id).unwrap();
        let answer = pair.sign_in(pair.knowing());
        assert!(matches!(answer, Ok(Answer::Pending)), "{id}");
    }
    let store = pair.master.store();
    let ids = store.list(KeyState::Pending).unwrap();
    assert_eq!(
        ids.iter().map(MinionId::as_str).collect::<Vec<_>>(),
        ["m1", "m2"]
    );
    let other = PrivateKey::generate(2048).unwrap();
    pair.id = MinionId::parse("m1").unwrap();
    let path = store.path(KeyState::Denied, &pair.id);
    let own = std::mem::replace(&mut pair.minion, other);
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Rejected)));
    let written = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).unwrap().ino()
    };
    let first = written(&path);
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Rejected)));
    assert_eq!(written(&path), first);
    // The minion whose key is pending is not disturbed.
    pair.minion = own;
    let pending = pair.master.store().path(KeyState::Pending, &pair.id);
    let first = written(&pending);
    assert!(matches!(pair.sign_in(pair.knowing()), Ok(Answer::Pending)));
    assert_eq!(written(&pending), first);
}

#[test]
fn keys_that_a_rule_rejects_are_bounded_and_only_the_first_sighting_of_an_id_is_new() {
    let files = tempfile::tempdir().unwrap();
    let rejected = files.path().join("autoreject");
    fs::write(&rejected, "bad*\n").unwrap();
    let mut pair = Pair::new(|config| {
        config.max_pending_keys = 2;
        config.rules.autoreject_file = Some(rejected);
    });
    let mut is_new = |id: &str| {
        pair.id = MinionId::parse(id).unwrap();
        pair.attempt(pair.knowing()).1.is_new
    };
    let bad = ["bad1", "bad2", "bad3", "bad1"].map(&mut is_new);
    assert_eq!(bad, [true, true, false, false]);
    assert_eq!(["m1", "m1"].map(&mut is_new), [true, false]);
    let rejected = pair.master.store().list(KeyState::Rejected).unwrap();
    assert_eq!(rejected.len(), 2);
    // Another key for an id that is known is no new id, however many come.
    for _ in 0..2 {
        pair.minion = PrivateKey::generate(2048).unwrap();
        let (_, done) = pair.attempt(pair.knowing());
        assert!(done.event.is_some() && !done.is_new);
    }
}
