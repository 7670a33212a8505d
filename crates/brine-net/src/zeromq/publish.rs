//! The publish port over ZeroMQ.
//!
//! Subscribers name prefixes of the messages they want: all, or some topics (`zmq_filtering`). They do not identify
//! themselves.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use brine_wire::network::publish::{BROADCAST, SYNDIC};
use brine_wire::network::zmtp::{self, Decoder, Socket, Step};
use tokio::time::{Instant, sleep_until};

use crate::channel::{Audience, Limits, Publication};
use crate::connection::{ConnectionError, Decode, Reader, send};
use crate::crypto;
use crate::heartbeat::Heartbeat;
use crate::limits::MAX_SUBSCRIBER_BYTES;
use crate::listener::{self, Accepted, Listener};
use crate::quota::Quota;
use crate::subscribers::{Entry, Subscribers};

/// How many topics one subscriber may name, and how long each may be, in bytes. Salt's subscribers name two of 40
/// bytes.
const MAX_TOPICS: usize = 64;
const MAX_TOPIC_BYTES: usize = 256;

/// How publishes begin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Topics {
    /// With their topic in a frame of its own (`zmq_filtering`).
    pub filtering: bool,
    /// Publishes for minions go to syndics too (`order_masters`).
    pub syndics: bool,
}

/// The subscribers of one port; cheap to clone.
#[derive(Clone, Default)]
pub struct Publisher {
    topics: Topics,
    /// Each with the prefixes it wants.
    subscribers: Arc<Subscribers<Vec<Vec<u8>>>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Publisher").field(&self.topics).finish()
    }
}

impl Publisher {
    /// For a port whose publishes have these topics.
    #[must_use]
    pub fn new(topics: Topics) -> Self {
        Self {
            topics,
            subscribers: Arc::default(),
        }
    }

    /// Sends to the subscribers that want it; returns for how many it was dropped because they do not read.
    #[must_use]
    pub fn publish(&self, publication: &Publication) -> usize {
        let payload = &publication.payload;
        if !self.topics.filtering {
            let message: Arc<[u8]> = zmtp::encode_publish(None, payload).into();
            return self.subscribers.publish(|wanted, chosen| {
                if wanted.iter().any(|prefix| payload.starts_with(prefix)) {
                    chosen.push(message.clone());
                }
            });
        }
        let topics = self.topics_of(&publication.audience);
        let message = |topic: &String| zmtp::encode_publish(Some(topic), payload).into();
        let messages: Vec<Arc<[u8]>> = topics.iter().map(message).collect();
        let mut found = Vec::new();
        self.subscribers.publish(|wanted, chosen| {
            for prefix in wanted {
                let first = topics.partition_point(|topic| topic.as_bytes() < &prefix[..]);
                let begins = |at: &usize| topics[*at].as_bytes().starts_with(prefix);
                found.extend((first..topics.len()).take_while(begins));
            }
            found.sort_unstable();
            found.dedup();
            chosen.extend(found.drain(..).map(|at| messages[at].clone()));
        })
    }

    /// Sorted.
    fn topics_of(&self, audience: &Audience) -> Vec<String> {
        match audience {
            Audience::Minions(ids) if !ids.is_empty() => {
                let syndic = self.topics.syndics.then(|| SYNDIC.to_owned());
                let mut topics: Vec<_> = ids.iter().map(crypto::topic).chain(syndic).collect();
                topics.sort();
                topics
            }
            _ => vec![BROADCAST.to_owned()],
        }
    }
}

/// Serves subscribers until `shutdown`.
pub async fn serve(
    listener: impl Into<Listener>,
    limits: Limits,
    publisher: Publisher,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::of_strangers(&limits);
    let subscribers = Quota::of_subscribers(&limits);
    let limits = Arc::new(limits);
    let connections = listener.into().serve(&quota, shutdown, |accepted| {
        deliver(
            accepted,
            publisher.clone(),
            limits.clone(),
            subscribers.clone(),
        )
    });
    drop(connections.await); // ends them
}

/// A message from a subscriber.
enum FromSubscriber {
    Nothing,
    Reply(Vec<u8>),
    Subscribe(Vec<u8>),
    Cancel(Vec<u8>),
}

struct Frames(Decoder);

impl Decode for Frames {
    type Item = FromSubscriber;

    fn wanted(&self) -> usize {
        self.0.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, FromSubscriber)>, ConnectionError> {
        let Some((length, step)) = self.0.next(buffer)? else {
            return Ok(None);
        };
        let item = match step {
            Step::Reply(bytes) => FromSubscriber::Reply(bytes),
            Step::Subscribe(topic) => FromSubscriber::Subscribe(topic.to_vec()),
            Step::Cancel(topic) => FromSubscriber::Cancel(topic.to_vec()),
            _ => FromSubscriber::Nothing,
        };
        Ok(Some((length, item)))
    }
}

/// Serves one subscriber, which is a stranger until it has subscribed to something.
async fn deliver(
    accepted: Accepted,
    publisher: Publisher,
    limits: Arc<Limits>,
    subscribers: Arc<Quota>,
) -> Result<(), ConnectionError> {
    let io_timeout = limits.io_timeout;
    let (address, eviction) = (accepted.peer.ip(), accepted.eviction.clone());
    let ((reader, mut writer), slot) = listener::open(accepted, io_timeout).await?;
    send(&mut writer, &zmtp::GREETING, io_timeout).await?;
    let frames = Frames(Decoder::new(Socket::Pub, MAX_SUBSCRIBER_BYTES));
    let turns = slot.turns();
    let mut reader = Reader::new(reader, frames, io_timeout).in_turns(turns.clone());
    let mut heartbeat = Heartbeat::new(Some(zmtp::PING));
    let (entry, mut publications) = publisher.subscribers.enter(limits.publish_queue);
    let (mut stranger, mut _subscriber) = (Some(slot), None);
    let deadline = Instant::now() + limits.identification;
    loop {
        tokio::select! {
            Some(message) = publications.recv() => send(&mut writer, &message, io_timeout).await?,
            read = reader.advance() => {
                heartbeat.received();
                match read? {
                    Some(FromSubscriber::Reply(bytes)) => {
                        turns.use_up();
                        send(&mut writer, &bytes, io_timeout).await?;
                    }
                    Some(FromSubscriber::Subscribe(topic)) => {
                        subscribe(&entry, topic)?;
                        if let Some(slot) = stranger.take() {
                            slot.admit();
                            _subscriber = Some(subscribers.enter(address, eviction.clone()));
                        }
                    }
                    Some(FromSubscriber::Cancel(topic)) => {
                        entry.change(|topics| topics.retain(|known| *known != topic));
                    }
                    Some(FromSubscriber::Nothing) | None => {}
                }
            }
            ping = heartbeat.next_ping(), if stranger.is_none() => send(&mut writer, ping?, io_timeout).await?,
            () = sleep_until(deadline), if stranger.is_some() => {
                return Err(ConnectionError::TooSlow { after: limits.identification });
            }
        }
    }
}

fn subscribe(entry: &Entry<Vec<Vec<u8>>>, topic: Vec<u8>) -> Result<(), ConnectionError> {
    let taken = entry.change(|topics| {
        let fits = topics.len() < MAX_TOPICS && topic.len() <= MAX_TOPIC_BYTES;
        if fits && !topics.contains(&topic) {
            topics.push(topic);
        }
        fits
    });
    match taken {
        Some(true) => Ok(()),
        _ => Err(ConnectionError::Topics { limit: MAX_TOPICS }),
    }
}

#[cfg(test)]
mod tests {
    use brine_wire::network::MinionId;

    use super::*;

    #[test]
    fn each_gets_what_it_wants_once_and_nobody_else_does() {
        let publisher = Publisher::new(Topics {
            filtering: true,
            syndics: true,
        });
        let m1 = MinionId::parse("m1").unwrap();
        let hash = crypto::topic(&m1);
        let wanted = [
            vec![""],
            vec![&hash, BROADCAST],
            vec![BROADCAST],
            vec![&hash[..3], &hash],
        ];
        let mut entries: Vec<_> = (wanted.iter())
            .map(|topics| {
                let (entry, queue) = publisher.subscribers.enter(10);
                for topic in topics {
                    subscribe(&entry, topic.as_bytes().to_vec()).unwrap();
                }
                (entry, queue)
            })
            .collect();
        for audience in [Audience::Minions(vec![m1]), Audience::Everyone] {
            let payload = b"payload".as_slice().into();
            assert_eq!(publisher.publish(&Publication { payload, audience }), 0);
        }
        let mut count = |at: usize| std::iter::from_fn(|| entries[at].1.try_recv().ok()).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [3, 2, 1, 1]);
    }

    #[test]
    fn a_subscriber_wants_so_many_topics_and_no_more() {
        let publisher = Publisher::default();
        let (entry, _queue) = publisher.subscribers.enter(1);
        for n in 0..MAX_TOPICS {
            subscribe(&entry, n.to_string().into_bytes()).unwrap();
        }
        assert!(subscribe(&entry, b"more".to_vec()).is_err());
        assert!(subscribe(&publisher.subscribers.enter(1).0, vec![0; 1000]).is_err());
    }
}
