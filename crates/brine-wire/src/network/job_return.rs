//! `_return`: the event a master fires for a minion's result of a job.
//!
//! Facts: `docs/protocol/network.md` §10.3, §10.4.

use alloc::string::String;
use alloc::vec::Vec;

use super::jid::REQ;
use super::{Jid, MinionId, field};
use crate::tag::{SALT, tagify};
use crate::value::{Map, Value};

/// The command.
pub const CMD: &str = "_return";

/// A return as the bus and a job cache take it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReturn {
    /// The job.
    pub jid: Jid,
    /// Whose return it is: the sender, or a resource of it.
    pub id: MinionId,
    /// The event's data: the load in its order. The sender sets `_stamp`, in its place.
    pub data: Map,
}

/// Why a return makes no event. The minion is answered nil all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoredReturn {
    /// `return`, `jid` or `id` is missing.
    #[error("the return has no return, jid or id")]
    Lacking,
    /// The job id could not be a part of a tag.
    #[error("the return has an invalid job id")]
    Jid,
    /// The id could not be a part of a tag.
    #[error("the return has an invalid minion id")]
    Id,
    /// It is in the name of another minion.
    #[error("the return's resource_id is the id of an accepted minion")]
    OtherMinion,
}

/// The event of a return, given its fields without `tok` and `nonce`.
///
/// `allot` makes a job id for returns of unpublished jobs. `is_accepted` tells whether an id is
/// an accepted minion's: no other minion may return under it through `resource_id`.
///
/// # Errors
/// [`IgnoredReturn`].
pub fn read(
    mut fields: Map,
    allot: impl FnOnce() -> Jid,
    is_accepted: impl FnOnce(&MinionId) -> bool,
) -> Result<JobReturn, IgnoredReturn> {
    if let Some(resource) = fields.remove("resource_id") {
        stand_in(&mut fields, &resource, is_accepted)?;
    }
    let (Some(_), Some(jid), Some(id)) =
        (fields.get("return"), fields.get("jid"), fields.get("id"))
    else {
        return Err(IgnoredReturn::Lacking);
    };
    let id = id
        .as_str()
        .and_then(|id| MinionId::parse(id).ok())
        .ok_or(IgnoredReturn::Id)?;
    let jid = match jid.as_str().ok_or(IgnoredReturn::Jid)? {
        REQ => {
            let jid = allot();
            adopt(&mut fields, &jid, &id);
            jid
        }
        jid => Jid::parse(jid).map_err(|_| IgnoredReturn::Jid)?,
    };
    Ok(JobReturn {
        jid,
        id,
        data: fields,
    })
}

/// Puts a resource in its minion's place.
fn stand_in(
    fields: &mut Map,
    resource: &Value,
    is_accepted: impl FnOnce(&MinionId) -> bool,
) -> Result<(), IgnoredReturn> {
    let resource = resource
        .as_str()
        .and_then(|id| MinionId::parse(id).ok())
        .ok_or(IgnoredReturn::Id)?;
    let own = field::text(fields, "id") == Some(resource.as_str());
    if !own && is_accepted(&resource) {
        return Err(IgnoredReturn::OtherMinion);
    }
    fields.insert("id", resource.as_str());
    Ok(())
}

/// Gives a return that belongs to no job one.
fn adopt(fields: &mut Map, jid: &Jid, id: &MinionId) {
    fields.insert("jid", jid.as_str());
    let arg = fields
        .get("fun_args")
        .cloned()
        .unwrap_or_else(|| Value::Array(Vec::new()));
    fields.insert("arg", arg);
    fields.insert("tgt_type", "glob");
    fields.insert("tgt", id.as_str());
}

impl JobReturn {
    /// The event's tag.
    #[must_use]
    pub fn tag(&self) -> String {
        tagify([self.jid.as_str(), "ret", self.id.as_str()], "job", SALT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(jid: &str) -> Map {
        [
            ("cmd", Value::from(CMD)),
            ("id", "m1".into()),
            ("jid", jid.into()),
            ("return", true.into()),
            ("fun_args", Value::from(alloc::vec![Value::Int(1)])),
        ]
        .into_iter()
        .collect()
    }

    fn allotted() -> Jid {
        Jid::parse("42").unwrap()
    }

    fn keys(map: &Map) -> Vec<&str> {
        map.iter().filter_map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn a_return_keeps_its_keys_in_order() {
        let made = read(load("7"), allotted, |_| true).unwrap();
        assert_eq!(made.tag(), "salt/job/7/ret/m1");
        assert_eq!(made.data, load("7"));
    }

    #[test]
    fn a_return_of_no_job_is_given_one() {
        let made = read(load(REQ), allotted, |_| true).unwrap();
        assert_eq!(made.tag(), "salt/job/42/ret/m1");
        assert_eq!(
            keys(&made.data),
            [
                "cmd", "id", "jid", "return", "fun_args", "arg", "tgt_type", "tgt"
            ]
        );
        assert_eq!(made.data.get("jid"), Some(&"42".into()));
    }

    #[test]
    fn what_lacks_a_field_or_names_a_path_is_ignored() {
        for key in ["id", "jid", "return"] {
            let mut lacking = load("7");
            lacking.remove(key);
            assert_eq!(
                read(lacking, allotted, |_| false),
                Err(IgnoredReturn::Lacking)
            );
        }
        assert_eq!(
            read(load("../../x"), allotted, |_| false),
            Err(IgnoredReturn::Jid)
        );
        assert_eq!(
            read(load("7\0"), allotted, |_| false),
            Err(IgnoredReturn::Jid)
        );
        let mut path = load("7");
        path.insert("id", "../m2");
        assert_eq!(read(path, allotted, |_| false), Err(IgnoredReturn::Id));
    }

    #[test]
    fn a_resource_stands_in_its_minions_place_but_no_other_minion_does() {
        let mut resource = load("7");
        resource.insert("resource_id", "vm1");
        let made = read(resource.clone(), allotted, |_| false).unwrap();
        assert_eq!(made.tag(), "salt/job/7/ret/vm1");
        assert_eq!(keys(&made.data), ["cmd", "id", "jid", "return", "fun_args"]);
        assert_eq!(
            read(resource, allotted, |_| true),
            Err(IgnoredReturn::OtherMinion)
        );
    }
}
