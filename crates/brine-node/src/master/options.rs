//! A master's options under Salt's names, read and checked once, in one small struct for each part of the master.
//!
//! Facts: Salt's documentation of the options; the defaults are `brine-config`'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use brine_auth::TokenStore;
use brine_config::{Brine, Opts};
use brine_net::keys::autosign::Rules;
use brine_net::keys::master::{KeyOptions, PubkeySignature};
use brine_net::master::{DEFAULT_PENDING_KEYS, MasterConfig};
use brine_net::tls::TlsOptions;
use brine_wire::compat::Compat;
use brine_wire::network::algorithm::SigningAlgorithm;
use brine_wire::nodegroup::nodegroups;
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};

use super::access::AccessOptions;
use super::external_options::ExternalOptions;
use super::mine::MineOptions;
use super::shown_options;
use super::signatures::ReturnSignatures;
use crate::bus_address::uses_tcp;
use crate::files::FileRoots;
use crate::keys::LeftoverFiles;
use crate::minion_cache::MinionCache;
use crate::options::{OptionsError, Reader, Transport};

/// A master's options, named as Salt names them.
#[derive(Debug, Clone)]
pub struct MasterOptions {
    /// Keys and who may sign in.
    pub channel: MasterConfig,
    /// How minions reach it.
    pub transport: Transport,
    /// The address both ports are bound to.
    pub interface: IpAddr,
    /// The port of requests; 0 for any. The publish port is `channel`'s.
    pub ret_port: u16,
    /// Connections that wait to be accepted (zeromq).
    pub zmq_backlog: u32,
    /// Publish by topics (zeromq).
    pub zmq_filtering: bool,
    /// Publish to syndics, too.
    pub order_masters: bool,
    /// The largest data of an event that the node fires on its own bus, in bytes.
    pub max_event_size: usize,
    /// Messages that wait for one subscriber.
    pub pub_hwm: usize,
    /// TLS at both ports (`ssl`; not with ZeroMQ).
    pub ssl: Option<TlsOptions>,
    /// Every user of this machine can write to the master's bus (`ipc_mode: tcp`).
    pub bus_is_open_to_all: bool,
    /// The directory of the bus's sockets.
    pub sock_dir: PathBuf,
    /// Node groups by name, as targets use them.
    pub nodegroups: Map,
    /// What is on the disk about minions.
    pub minions: MinionCache,
    /// What the file server serves.
    pub files: FileRoots,
    /// What is done with files of minions whose keys are rejected or deleted.
    pub leftover: LeftoverFiles,
    /// Which local users may publish what.
    pub(super) access: AccessOptions,
    /// Users of `external_auth`, and where their tokens are.
    pub(super) external: ExternalOptions,
    /// What the mine keeps and who may read it.
    pub(super) mine: MineOptions,
    /// Whether returns must be signed.
    pub(super) return_signatures: ReturnSignatures,
    /// Fire `salt/auth`.
    pub auth_events: bool,
    /// Fire `salt/presence/*`.
    pub presence_events: bool,
    /// Keep minions' grains.
    pub minion_data_cache: bool,
    /// Fire `minion/refresh/<id>`.
    pub minion_data_cache_events: bool,
    /// How often the master looks after itself.
    pub loop_interval: Duration,
    /// How often `salt/stats/<worker>` is fired; `None` without `master_stats`.
    pub stats_every: Option<Duration>,
    /// Publish `test.ping` to all after a rotation, so that all sign in again.
    pub ping_on_rotate: bool,
    /// Fire what the tag policy refuses minions, and only report it (`brine: {minion_tags: audit}`).
    pub audit_minion_tags: bool,
    /// Report in events who subscribes, fires what belongs to the master, and changes keys (`brine: {audit: true}`).
    pub audit: bool,
    /// Whether minions may have their own keys deleted.
    pub allow_minion_key_revoke: bool,
    /// How long its own runner functions wait for minions (`timeout`, `gather_job_timeout`).
    pub timeouts: Timeouts,
    /// The master's id.
    pub id: String,
    /// Where sessions, jobs and grains are.
    pub cachedir: PathBuf,
    /// How file names in the job cache are made (`hash_type`).
    pub hash_type: String,
    /// Whether returns and the master's own functions are kept (`job_cache`); published jobs are.
    pub job_cache: bool,
    /// How long jobs are kept; `None` for ever.
    pub keep_jobs: Option<Duration>,
    /// The user the master runs as.
    pub user: String,
    /// What wheel `config.values` shows.
    pub(super) shown: Map,
}

impl MasterOptions {
    /// Reads them.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn from_opts(opts: &Opts, brine: &Brine) -> Result<Self, OptionsError> {
        let read = Reader(opts);
        let compat = brine.compat.unwrap_or(Compat::NEWEST);
        Ok(Self {
            channel: MasterConfig {
                max_pending_keys: brine.max_pending_keys.unwrap_or(DEFAULT_PENDING_KEYS),
                ..channel(&read, compat)?
            },
            transport: read.transport()?,
            interface: interface(opts.text("interface")?, read.flag("ipv6", false)?)?,
            ret_port: read.port("ret_port", 4506)?,
            zmq_backlog: u32::try_from(opts.int("zmq_backlog")?).unwrap_or(u32::MAX),
            zmq_filtering: opts.flag("zmq_filtering")?,
            order_masters: opts.flag("order_masters")?,
            max_event_size: read.max_event_size()?,
            pub_hwm: usize::try_from(opts.int("pub_hwm")?).unwrap_or(1000),
            auth_events: read.flag("auth_events", true)?,
            presence_events: read.flag("presence_events", false)?,
            minion_data_cache: read.flag("minion_data_cache", true)?,
            minion_data_cache_events: read.flag("minion_data_cache_events", true)?,
            loop_interval: read.seconds("loop_interval", 60.0)?,
            stats_every: match read.flag("master_stats", false)? {
                true => Some(Duration::from_secs(
                    read.count("master_stats_event_iter", 60)?,
                )),
                false => None,
            },
            ping_on_rotate: read.flag("ping_on_rotate", false)?,
            audit_minion_tags: brine.audit_minion_tags,
            audit: brine.audit,
            allow_minion_key_revoke: read.flag("allow_minion_key_revoke", true)?,
            timeouts: Timeouts {
                timeout: read.seconds("timeout", 5.0)?,
                gather: read.seconds("gather_job_timeout", 10.0)?,
            },
            id: opts.text("id")?.to_owned(),
            cachedir: opts.text("cachedir")?.into(),
            hash_type: opts.text("hash_type")?.to_owned(),
            job_cache: read.flag("job_cache", true)?,
            keep_jobs: keep_jobs(&read)?,
            user: opts.text("user")?.to_owned(),
            shown: shown_options::shown(opts),
            ssl: TlsOptions::from_option(opts.get("ssl"))?,
            bus_is_open_to_all: uses_tcp(opts),
            sock_dir: opts.text("sock_dir")?.into(),
            nodegroups: nodegroups(opts.get("nodegroups")),
            minions: MinionCache::of(opts)?,
            files: FileRoots::from_opts(opts),
            leftover: LeftoverFiles::from_opts(opts)?,
            access: access(&read),
            external: ExternalOptions::from_opts(opts, brine),
            mine: MineOptions {
                is_kept: read.flag("minion_data_cache", true)?
                    || read.flag("enforce_mine_cache", false)?,
                permitted: opts.get("mine_get").cloned(),
            },
            return_signatures: ReturnSignatures {
                required: read.is_true("require_minion_sign_messages"),
                drop_invalid: read.is_true("drop_messages_signature_fail"),
            },
        })
    }

    /// Where tokens of `external_auth` are kept.
    pub(super) fn token_store(&self) -> TokenStore {
        let (cachedir, hash_type) = (&self.cachedir, &self.hash_type);
        self.external
            .token_store(self.compat(), cachedir, hash_type)
    }

    /// The release of Salt whose behaviour is wanted.
    #[must_use]
    pub const fn compat(&self) -> Compat {
        self.channel.compat
    }
}

/// The address of `interface`. Real Salt cannot listen at a name either.
fn interface(text: &str, with_ipv6: bool) -> Result<IpAddr, OptionsError> {
    let address = match text.trim_matches(['[', ']']) {
        "*" | "0.0.0.0" if with_ipv6 => Ok(Ipv6Addr::UNSPECIFIED.into()),
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        address => address.parse(),
    };
    address.map_err(|_| OptionsError::Value {
        option: "interface",
        expected: "an address, such as 0.0.0.0 or 192.0.2.1, and no name",
        found: text.to_owned(),
    })
}

fn channel(read: &Reader<'_>, compat: Compat) -> Result<MasterConfig, OptionsError> {
    let opts = read.0;
    let mut channel = MasterConfig::new(opts.text("pki_dir")?, opts.text("cachedir")?);
    channel.compat = compat;
    channel.publish_port = read.port("publish_port", 4505)?;
    channel.rules = Rules {
        auto_accept: opts.flag("auto_accept")?,
        autosign_file: read.path("autosign_file"),
        autoreject_file: read.path("autoreject_file"),
        autosign_grains_dir: read.path("autosign_grains_dir"),
        autosign_timeout: Duration::from_secs(60 * read.count("autosign_timeout", 120)?),
        permissive_pki_access: read.flag("permissive_pki_access", false)?,
    };
    channel.open_mode = opts.flag("open_mode")?;
    channel.max_minions = usize::try_from(read.count("max_minions", 0)?).unwrap_or(usize::MAX);
    channel.publish_session = read.seconds("publish_session", 86_400.0)?;
    channel.minimum_auth_version =
        u32::try_from(read.count("minimum_auth_version", 3)?).unwrap_or(u32::MAX);
    // Without the option Salt has no window, with which requests can be replayed at any time. Here it takes the option
    // to have none.
    let ttl = read.seconds("request_server_ttl", 0.0)?;
    if !ttl.is_zero() {
        channel.request_server_ttl = Some(ttl);
    } else if opts.is_given("request_server_ttl") {
        tracing::warn!("request_server_ttl is 0: requests of any age are accepted");
        channel.request_server_ttl = None;
    }
    channel.refuse_sha1 = read.flag("fips_mode", false)?;
    channel.publish_signing_algorithm = match opts.flag("sign_pub_messages")? {
        true => Some(signing(opts, channel.refuse_sha1)?),
        false => None,
    };
    if opts.flag("master_sign_pubkey")? {
        if channel.refuse_sha1 {
            return Err(OptionsError::Value {
                option: "master_sign_pubkey",
                expected: "False with fips_mode, since that signature is made with SHA-1",
                found: "True".to_owned(),
            });
        }
        let precomputed = opts.flag("master_use_pubkey_signature")?;
        channel.pubkey_signature = Some(PubkeySignature {
            sign_key_name: opts.text("master_sign_key_name")?.to_owned(),
            precomputed: match precomputed {
                true => Some(opts.text("master_pubkey_signature")?.to_owned()),
                false => None,
            },
        });
    }
    // With another driver the keys are not in `pki_dir`. A master that started without them would take every minion for
    // a new one.
    if let Some(found) = read.text("keys.cache_driver")
        && found != "localfs_key"
    {
        return Err(OptionsError::Value {
            option: "keys.cache_driver",
            expected: "localfs_key, since Brine reads keys only from pki_dir",
            found,
        });
    }
    channel.key_options = KeyOptions {
        keysize: u32::try_from(read.count("keysize", 2048)?).unwrap_or(u32::MAX),
        key_pass: read.text("key_pass"),
    };
    Ok(channel)
}

fn access(read: &Reader<'_>) -> AccessOptions {
    let map = |name| read.0.get(name).and_then(Value::as_map).cloned();
    AccessOptions {
        publisher_acl: map("publisher_acl").unwrap_or_default(),
        publisher_acl_blacklist: map("publisher_acl_blacklist").unwrap_or_default(),
        client_acl_verify: read.0.flag("client_acl_verify").unwrap_or(true),
        sudo_acl: read.0.flag("sudo_acl").unwrap_or(false),
    }
}

/// `keep_jobs_seconds`, or the older `keep_jobs` in hours.
fn keep_jobs(read: &Reader<'_>) -> Result<Option<Duration>, OptionsError> {
    let seconds = match read.0.is_set("keep_jobs") && !read.0.is_set("keep_jobs_seconds") {
        true => 3600 * read.count("keep_jobs", 24)?,
        false => read.count("keep_jobs_seconds", 86_400)?,
    };
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn signing(opts: &Opts, refuse_sha1: bool) -> Result<SigningAlgorithm, OptionsError> {
    const OPTION: &str = "publish_signing_algorithm";
    if refuse_sha1 && !opts.is_given(OPTION) {
        return Ok(SigningAlgorithm::Pkcs1v15Sha224);
    }
    let name = opts.text(OPTION)?;
    let known = SigningAlgorithm::parse(name);
    known
        .filter(|algorithm| !(refuse_sha1 && algorithm.uses_sha1()))
        .ok_or_else(|| OptionsError::Value {
            option: OPTION,
            expected: match refuse_sha1 {
                true => "PKCS1v15-SHA224, since fips_mode is set",
                false => "PKCS1v15-SHA1 or PKCS1v15-SHA224",
            },
            found: name.to_owned(),
        })
}
