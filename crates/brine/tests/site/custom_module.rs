//! The documentation's custom execution module, synced from the master and run as it stands.

use std::fs;

use brine_wire::Value;

use crate::site::{Site, at, map};

/// The example of Salt's event documentation, and two functions more: one that ends its process, one
/// that tells where it runs.
const MODULE: &str = r#"
def do_something():
    ret = {"changed": 5}
    __salt__["event.send"](
        "myco/my_custom_module/finished",
        {
            "finished": True,
            "message": "The something is finished!",
        },
    )
    return ret


def crash():
    import os

    os._exit(3)


def who():
    return [__grains__["id"], __opts__["id"]]
"#;

#[test]
fn a_synced_module_sends_events_and_its_crash_costs_one_job() {
    let site = Site::up("tcp");
    fs::write(site.path("srv/_modules/my_custom_module.py"), MODULE).unwrap();
    let mut bus = site.master_bus();
    site.prints(
        &["salt", "*", "saltutil.sync_modules"],
        "m1:\n    - modules.my_custom_module\n",
    );
    site.prints(
        &[
            "salt",
            "m1",
            "my_custom_module.do_something",
            "--out",
            "txt",
        ],
        "m1: {'changed': 5}\n",
    );
    let event = bus.next("myco/my_custom_module/finished");
    let data = map(&event, "data");
    assert_eq!(at(data, "message"), &"The something is finished!".into());
    assert!(data.get("__pub_fun").is_none(), "{data:?}");

    let left = site.run(&["salt", "m1", "my_custom_module.crash"]);
    assert_ne!(left.code, Some(0), "{left:?}");
    site.prints(
        &["salt-call", "my_custom_module.who", "--out", "txt"],
        "local: ['m1', 'm1']\n",
    );
    let ret = bus.next("salt/job/*/ret/m1");
    assert_ne!(at(&ret, "return"), &Value::Nil);
}
