//! The best that a single client does into NATS JetStream: messages made before the clock runs, published as fast as the
//! server acknowledges them, many acknowledgements outstanding. `benches/sinks.py jetstream` runs it beside the sink.
//!
//!     jetstream ADDRESS EVENTS bare|same
//!
//! EVENTS is a file of JSON lines. `bare` publishes their data alone, each on a subject of its own as the sink does;
//! `same` adds the headers that the sink sends. Prints events per second.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, context::PublishAckFuture};
use brine_wire::{Value, json, msgpack, nats_subject};

/// Acknowledgements that are outstanding at most.
const WINDOW: usize = 4096;

struct Message {
    subject: String,
    headers: HeaderMap,
    payload: Vec<u8>,
}

#[expect(clippy::print_stdout, reason = "the rate is this program's output")]
fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [address, events, how] = &words[..] else {
        bail!("usage: jetstream ADDRESS EVENTS bare|same")
    };
    let text = fs::read(events).with_context(|| events.clone())?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let messages = lines
        .zip(1..)
        .map(|(line, nth)| message(line, nth, how == "same"));
    let messages = messages.collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(publish(address, messages))?);
    Ok(())
}

fn message(line: &[u8], nth: u64, has_headers: bool) -> Result<Message> {
    let event = json::parse(line).context("no JSON")?;
    let field = |name| event.as_map().and_then(|event| event.get(name));
    let tag = field("tag").and_then(Value::as_str).context("no tag")?;
    let data = field("data").and_then(Value::as_map).context("no data")?;
    let mut payload = Vec::new();
    msgpack::encode_map(data, &mut payload);
    let mut headers = HeaderMap::new();
    if has_headers {
        headers.insert("Nats-Msg-Id", format!("7f3a12b4c5d6e7f8-{nth}"));
        headers.insert("Brine-Origin", "bench");
        headers.insert("Brine-After", (nth - 1).to_string());
    }
    Ok(Message {
        subject: nats_subject::subject("raw.event", "bench", tag.as_bytes()).text,
        headers,
        payload,
    })
}

async fn publish(address: &str, messages: Vec<Message>) -> Result<f64> {
    let client = async_nats::connect(address).await?;
    let jetstream = jetstream::context::ContextBuilder::new()
        .max_ack_inflight(WINDOW)
        .timeout(Duration::from_secs(60))
        .build(client);
    let _ = jetstream.delete_stream("RAW").await; // none the first time
    let config = jetstream::stream::Config {
        name: "RAW".to_owned(),
        subjects: vec!["raw.event.>".to_owned()],
        allow_direct: true,
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    let count = messages.len();
    let start = Instant::now();
    let mut waiting: VecDeque<PublishAckFuture> = VecDeque::with_capacity(WINDOW);
    for message in messages {
        if waiting.len() == WINDOW
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await?;
        }
        let Message {
            subject,
            headers,
            payload,
        } = message;
        let sent = match headers.is_empty() {
            true => jetstream.publish(subject, payload.into()).await?,
            false => {
                let sent = jetstream.publish_with_headers(subject, headers, payload.into());
                sent.await?
            }
        };
        waiting.push_back(sent);
    }
    for ack in waiting {
        ack.await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are small")]
    let rate = count as f64 / start.elapsed().as_secs_f64();
    Ok(rate)
}
