//! One event as a NATS message, and back.
//!
//! The payload is the event's data as the bus has it: one MessagePack map. The tag is the subject
//! (`brine_wire::nats_subject`). Headers hold what else is known of the event; `docs/cluster.md` describes them.
//! Messages are checked like any input from a network: one that is not an event is refused as a whole. No I/O here.

use async_nats::HeaderMap;
use brine_log::{Incoming, Origin, Position, Seq, Source};
use brine_wire::envelope::{Envelope, EnvelopeError, TAG_END};
use brine_wire::nats_subject::{self, Named};
use bytes::Bytes;

use crate::batch::Event;

/// The event's position in its master's log; servers leave a second message with the same out.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The master's id, in the words of subjects.
const ORIGIN: &str = "Brine-Origin";
/// The number of the event before it in the stream, of the same log.
const AFTER: &str = "Brine-After";
/// The minion that fired it, in the words of subjects.
const SENDER: &str = "Brine-Sender";
/// The tag, in the words of subjects, where the subject has not all of it.
const TAG: &str = "Brine-Tag";

/// A message as it is published.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// Its number, if it is this master's.
    pub(crate) own: Option<Seq>,
}

/// An event of some master's, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) master: String,
    pub(crate) position: Position,
    /// The event before it in the stream; `None` if its master does not know.
    pub(crate) after: Option<Seq>,
    pub(crate) sender: Option<String>,
    /// Tag, tag end and data.
    pub(crate) event: Vec<u8>,
    pub(crate) tag_bytes: usize,
}

/// Why a message is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMessage {
    #[error("expected a subject {prefix}.MASTER.TAG…, found {subject:?}")]
    Subject { prefix: String, subject: String },
    #[error("header {name} is not as Brine writes it: {found:?}")]
    Header { name: &'static str, found: String },
    #[error("expected the same master in subject and header, found {subject} and {header}")]
    TwoMasters { subject: String, header: String },
    #[error("not a tag and a MessagePack map: {0}")]
    Event(#[from] EnvelopeError),
    #[error("the tag contains a blank line, or the master's id does not have 1 to 255 bytes")]
    Name,
}

impl Outgoing {
    /// An event as a message. `after` is this master's event before it in the stream, if that is known. An event of
    /// another master is in that one's name, as it would be if that one had published it.
    pub(crate) fn of(prefix: &str, own: &str, event: &Event<'_>, after: Option<Seq>) -> Self {
        let (master, position) = event.origin.map_or((own, event.position), |origin| {
            (origin.master(), origin.position())
        });
        let after = after.filter(|_| event.origin.is_none());
        let subject = nats_subject::subject(prefix, master, event.tag);
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, position.to_string());
        headers.insert(ORIGIN, nats_subject::name_word(master));
        if let Some(after) = after {
            headers.insert(AFTER, after.to_string());
        }
        if let Some(sender) = event.sender {
            headers.insert(SENDER, nats_subject::name_word(sender));
        }
        if subject.is_cut {
            headers.insert(TAG, nats_subject::words(event.tag));
        }
        Self {
            subject: subject.text,
            headers,
            payload: Bytes::copy_from_slice(event.data),
            own: event.origin.is_none().then_some(event.position.seq),
        }
    }
}

impl Received {
    /// Reads a message.
    pub(crate) fn parse(
        prefix: &str,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Self, BadMessage> {
        let header = |name| {
            let value = headers.and_then(|headers| headers.get(name));
            value.map(async_nats::HeaderValue::as_str)
        };
        let bad = |name, found: Option<&str>| BadMessage::Header {
            name,
            found: found.unwrap_or_default().chars().take(100).collect(),
        };
        let Named { master, tag } =
            nats_subject::named(prefix, subject).ok_or_else(|| BadMessage::Subject {
                prefix: prefix.to_owned(),
                subject: subject.chars().take(200).collect(),
            })?;
        let origin = header(ORIGIN).and_then(nats_subject::name);
        if origin.as_ref() != Some(&master) {
            return Err(BadMessage::TwoMasters {
                subject: master,
                header: origin.unwrap_or_default(),
            });
        }
        let position = header(MESSAGE_ID).and_then(|id| id.parse().ok());
        let position = position.ok_or_else(|| bad(MESSAGE_ID, header(MESSAGE_ID)))?;
        let after = header(AFTER).map(|seq| seq.parse().map(Seq));
        let after = after.transpose().map_err(|_| bad(AFTER, header(AFTER)))?;
        let sender = match header(SENDER) {
            Some(text) => Some(nats_subject::name(text).ok_or_else(|| bad(SENDER, Some(text)))?),
            None => None,
        };
        let tag = match tag {
            Some(tag) => tag,
            None => header(TAG)
                .and_then(nats_subject::tag)
                .ok_or_else(|| bad(TAG, header(TAG)))?,
        };
        let event = [&*tag, TAG_END, payload].concat();
        let tag_bytes = Envelope::parse(&event)?.tag().len();
        // A blank line within the tag would move its end; a name that no log keeps would be taken for our own.
        if tag_bytes != tag.len() || Origin::new(&master, position).is_none() {
            return Err(BadMessage::Name);
        }
        Ok(Self {
            master,
            position,
            after,
            sender,
            event,
            tag_bytes,
        })
    }

    /// The event as the log takes it.
    pub(crate) fn incoming(&self) -> (Source<'_>, Incoming<'_>) {
        let source = Source {
            sender: self.sender.as_deref(),
            origin: Origin::new(&self.master, self.position),
        };
        let incoming = Incoming {
            event: &self.event,
            tag_bytes: self.tag_bytes,
        };
        (source, incoming)
    }

    /// The memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.event.len() + self.master.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Millis};
    use proptest::prelude::*;

    const PREFIX: &str = "salt.event";

    fn event<'a>(tag: &'a [u8], sender: Option<&'a str>) -> Event<'a> {
        Event {
            position: Position {
                log: LogId(0x7f3a),
                seq: Seq(42),
            },
            at: Millis(0),
            tag,
            data: b"\x81\xa1n\x01",
            sender,
            origin: None,
        }
    }

    fn back(message: &Outgoing) -> Result<Received, BadMessage> {
        let headers = Some(&message.headers);
        Received::parse(PREFIX, &message.subject, headers, &message.payload)
    }

    #[test]
    fn a_message_is_the_event_again() {
        let long = "x y/".repeat(1000);
        for (tag, sender, after) in [
            (
                "salt/job/1/ret/web1.example.org",
                Some("web1.example.org"),
                Some(Seq(41)),
            ),
            ("my tag", None, None),
            (&*long, None, Some(Seq(0))),
        ] {
            let received = back(&Outgoing::of(
                PREFIX,
                "m.1",
                &event(tag.as_bytes(), sender),
                after,
            ));
            let received = received.unwrap();
            assert_eq!(received.master, "m.1");
            assert_eq!(
                (received.sender.as_deref(), received.after),
                (sender, after)
            );
            let (source, incoming) = received.incoming();
            assert_eq!(source.origin.unwrap().position().to_string(), "7f3a-42");
            assert_eq!(
                incoming.event,
                [tag.as_bytes(), b"\n\n\x81\xa1n\x01"].concat()
            );
            assert_eq!(incoming.tag_bytes, tag.len());
        }
    }

    #[test]
    fn an_event_of_another_master_stays_that_masters() {
        let position = Position {
            log: LogId(8),
            seq: Seq(7),
        };
        let event = Event {
            origin: Origin::new("m2", position),
            ..event(b"a", None)
        };
        let message = Outgoing::of(PREFIX, "m1", &event, Some(Seq(41)));
        assert_eq!(message.own, None);
        let received = back(&message).unwrap();
        assert_eq!((received.master.as_str(), received.after), ("m2", None));
        assert_eq!(received.position, position);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let made = || Outgoing::of(PREFIX, "m1", &event(b"a/b", None), Some(Seq(1)));
        let changed = |change: &dyn Fn(&mut Outgoing)| {
            let mut message = made();
            change(&mut message);
            back(&message).unwrap_err()
        };
        let error = changed(&|message| message.subject = "salt.event.m2.a.b".to_owned());
        assert!(matches!(error, BadMessage::TwoMasters { .. }), "{error}");
        let error = changed(&|message| message.subject = "other".to_owned());
        assert!(matches!(error, BadMessage::Subject { .. }), "{error}");
        let error = changed(&|message| message.headers.insert(MESSAGE_ID, "7"));
        assert!(
            matches!(
                error,
                BadMessage::Header {
                    name: MESSAGE_ID,
                    ..
                }
            ),
            "{error}"
        );
        let error = changed(&|message| message.headers.insert(AFTER, "-1"));
        assert!(
            matches!(error, BadMessage::Header { name: AFTER, .. }),
            "{error}"
        );
        for payload in [&b""[..], b"\x01", b"\x80\x80", b"\x81"] {
            let error = changed(&|message| message.payload = Bytes::copy_from_slice(payload));
            assert!(matches!(error, BadMessage::Event(_)), "{error}");
        }
        let error = changed(&|message| message.subject = "salt.event.m1.a%0A%0Ab".to_owned());
        assert!(
            matches!(error, BadMessage::Name | BadMessage::Event(_)),
            "{error}"
        );
        assert!(Received::parse(PREFIX, "salt.event.m1.a", None, b"\x80").is_err());
    }

    proptest! {
        #[test]
        fn any_event_of_a_bus_passes(tag in "[^\n]{1,60}", sender in proptest::option::of("[^\n]{1,20}")) {
            let received = back(&Outgoing::of(PREFIX, "m1", &event(tag.as_bytes(), sender.as_deref()), None)).unwrap();
            prop_assert_eq!(&received.event[..received.tag_bytes], tag.as_bytes());
            prop_assert_eq!(received.sender, sender);
        }
    }
}
