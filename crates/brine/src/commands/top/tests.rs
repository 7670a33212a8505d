//! Pictures at 40, 80 and 160 columns, and what keys do.

use brine_view::site::Gap;
use brine_wire::{Map, Value, msgpack};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::app::{App, Link, Overlay, View, Wish};
use super::draw;
use super::source::{BUS_AWAY, Item};
use crate::clock::Zone;

/// 2026-11-29 10:00:00 UTC.
const START: u64 = 1_795_946_400_000;

fn event(seq: u64, after: u64, tag: &str, data: &[(&str, Value)]) -> Item {
    let map: Map = data.iter().cloned().collect();
    let mut packed = Vec::new();
    msgpack::encode_map(&map, &mut packed);
    Item::Event {
        tag: tag.to_owned(),
        data: packed,
        at: START + after,
        seq,
    }
}

fn ids(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|name| Value::from(*name)).collect())
}

/// A small site, a minute after it began.
fn site() -> App {
    let mut app = App::new(Zone::Utc, false);
    app.source = "/var/run/salt/master/master_event_pub.ipc".to_owned();
    app.take(Item::Link(Link::Live));
    let new = [
        ("fun", "state.apply".into()),
        ("tgt", "web*".into()),
        ("user", "root".into()),
        ("minions", ids(&["web1", "web2", "web3"])),
    ];
    app.take(event(
        1,
        0,
        "salt/presence/present",
        &[("present", ids(&["web1", "web2"]))],
    ));
    app.take(event(2, 1000, "salt/job/20261129100001000000/new", &new));
    let ret = |id: &str, code: i32, value: &str| {
        vec![
            ("id", Value::from(id)),
            ("fun", "state.apply".into()),
            ("retcode", code.into()),
            ("return", vec![Value::from(value)].into()),
        ]
    };
    app.take(event(
        3,
        4000,
        "salt/job/20261129100001000000/ret/web1",
        &ret("web1", 2, "no matching sls 'nginx' found"),
    ));
    app.take(event(
        4,
        5000,
        "salt/job/20261129100001000000/ret/web2",
        &ret("web2", 0, "fine"),
    ));
    app.take(event(
        5,
        9000,
        "salt/auth",
        &[
            ("id", "db3".into()),
            ("act", "pend".into()),
            ("result", true.into()),
        ],
    ));
    let reason = "no longer kept".to_owned();
    app.take(Item::Gap(Gap {
        at: START + 20_000,
        before: 170_862,
        missed: Some(170_856),
        reason,
    }));
    for number in 0..40 {
        let data = [("host", Value::from("web1")), ("number", number.into())];
        app.take(event(
            170_862 + u64::try_from(number).unwrap(),
            30_000 + 500 * u64::try_from(number).unwrap(),
            "myco/backup",
            &data,
        ));
    }
    app.now = START + 60_000;
    app
}

fn picture(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.key(KeyEvent::new(*key, KeyModifiers::NONE));
    }
}

fn write(app: &mut App, text: &str) {
    let keys: Vec<KeyCode> = text.chars().map(KeyCode::Char).collect();
    press(app, &keys);
}

#[test]
fn the_list_of_events() {
    for width in [40, 80, 160] {
        insta::assert_snapshot!(format!("events_{width}"), picture(&mut site(), width, 24));
    }
}

#[test]
fn the_other_views() {
    for (key, name) in [
        ('2', "jobs"),
        ('3', "minions"),
        ('4', "tags"),
        ('5', "functions"),
        ('?', "help"),
    ] {
        for width in [40, 80] {
            let mut app = site();
            press(&mut app, &[KeyCode::Char(key)]);
            insta::assert_snapshot!(format!("{name}_{width}"), picture(&mut app, width, 20));
        }
    }
}

#[test]
fn the_bus_and_who_reads_it() {
    let reader = |pid: i32, lag: i64| -> Value {
        let map: Map = [
            ("pid", Value::from(pid)),
            ("uid", 0.into()),
            ("lag", lag.into()),
            ("position", "7f3a-42".into()),
        ]
        .into_iter()
        .collect();
        map.into()
    };
    let bus: Map = [
        ("appended_events", Value::from(200_000)),
        (
            "subscribers",
            vec![reader(812, 3), reader(911, 400_000)].into(),
        ),
    ]
    .into_iter()
    .collect();
    let history: Map = [
        ("used_bytes", Value::from(163_840)),
        ("trouble", "No space left on device".into()),
    ]
    .into_iter()
    .collect();
    let status: Map = [
        ("pid", Value::from(812)),
        ("bus", bus.into()),
        ("stream_deliveries", 7.into()),
        ("history", history.into()),
    ]
    .into_iter()
    .collect();
    let consumer: Map = [("name", Value::from("audit")), ("lag", 1.into())]
        .into_iter()
        .collect();
    for width in [40, 80] {
        let mut app = site();
        app.take(Item::Status {
            status: Some(status.clone()),
            consumers: vec![consumer.clone()],
        });
        press(&mut app, &[KeyCode::Char('6')]);
        insta::assert_snapshot!(format!("bus_{width}"), picture(&mut app, width, 16));
    }
}

#[test]
fn from_a_job_to_one_minions_return() {
    let mut app = site();
    press(&mut app, &[KeyCode::Char('2'), KeyCode::Enter]);
    insta::assert_snapshot!("job_80", picture(&mut app, 80, 14));
    press(&mut app, &[KeyCode::Enter]);
    insta::assert_snapshot!("return_80", picture(&mut app, 80, 20));
    press(&mut app, &[KeyCode::Char('y')]);
    assert!(picture(&mut app, 80, 20).contains("\"retcode\": 2"));
    press(&mut app, &[KeyCode::Esc, KeyCode::Esc]);
    assert!(app.overlays.is_empty() && !app.is_over);
}

#[test]
fn pausing_holds_the_picture_while_events_come() {
    let mut app = site();
    picture(&mut app, 80, 20);
    press(&mut app, &[KeyCode::Char(' ')]);
    let before = picture(&mut app, 80, 20);
    for number in 0..50 {
        app.take(event(200_000 + number, 61_000, "new/event", &[]));
    }
    let after = picture(&mut app, 80, 20);
    let list = |picture: &str| {
        picture
            .lines()
            .skip(5)
            .take(14)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(list(&before), list(&after));
    press(&mut app, &[KeyCode::End]);
    assert!(picture(&mut app, 80, 20).contains("new/event"));
}

#[test]
fn scrolling_past_the_first_row_reads_history() {
    let mut app = site();
    picture(&mut app, 80, 20);
    press(&mut app, &[KeyCode::Home, KeyCode::Up]);
    let wishes = app.take_wishes();
    assert_eq!(wishes, [Wish::Before { seq: 1 }]);
    // Only one question at a time.
    press(&mut app, &[KeyCode::Up]);
    assert_eq!(app.take_wishes(), []);
    let older = brine_view::site::Row::Event {
        seq: 0,
        at: START - 1000,
        tag: "old/event".into(),
        data: Some([0x80].into()),
        is_failure: false,
    };
    app.take(Item::Past(vec![older]));
    press(&mut app, &[KeyCode::Up]);
    let shown = picture(&mut app, 80, 20);
    assert!(
        shown.contains("09:59:59 old/event") && shown.contains("history (End: live)"),
        "{shown}"
    );
    press(&mut app, &[KeyCode::Down, KeyCode::Down]);
    assert_eq!(app.selected, Some(1));
}

#[test]
fn filters_and_searches() {
    let mut app = site();
    press(&mut app, &[KeyCode::Char('f')]);
    write(&mut app, "ok:maybe");
    press(&mut app, &[KeyCode::Enter]);
    assert!(picture(&mut app, 160, 20).contains("ok is true or false"));
    press(&mut app, &[KeyCode::Backspace; 5]);
    write(&mut app, "false");
    press(&mut app, &[KeyCode::Enter]);
    let shown = picture(&mut app, 80, 20);
    assert!(
        shown.contains("web1 state.apply FAILED")
            && !shown.contains("myco/backup")
            && shown.contains("170,856 events missed"),
        "{shown}"
    );
    press(&mut app, &[KeyCode::Char('F'), KeyCode::Char('/')]);
    write(&mut app, "NGINX");
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!(app.selected, Some(2));
    press(&mut app, &[KeyCode::Char('N')]);
    assert_eq!(app.message, "no other match of nginx");
    press(&mut app, &[KeyCode::Char('!')]);
    assert!(picture(&mut app, 80, 20).contains("only failures"));
}

#[test]
fn the_plot_can_have_minutes_and_its_scale_be_held() {
    let mut app = site();
    assert!(picture(&mut app, 160, 24).contains("  peak "));
    press(&mut app, &[KeyCode::Char('s')]);
    let held = app.scale;
    assert!(held.is_some() && picture(&mut app, 160, 24).contains("scale held at "));
    for number in 0..500 {
        app.take(event(400_000 + number, 59_500, "a/storm", &[]));
    }
    picture(&mut app, 160, 24);
    assert_eq!(app.scale, held);
    press(&mut app, &[KeyCode::Char('m')]);
    // The storm is of the minute that has just ended.
    assert!(app.scale.is_none() && picture(&mut app, 160, 24).contains("/min"));
    assert!(app.most >= 500, "{}", app.most);
}

#[test]
fn the_mouse_selects_opens_and_changes_views() {
    let mut app = site();
    picture(&mut app, 80, 20);
    let click = |column, row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column,
        row,
        modifiers: KeyModifiers::NONE,
    };
    let row = app.list_top + 2;
    app.mouse(click(5, row));
    let chosen = app.selected.unwrap();
    assert_eq!(chosen, app.shown[2]);
    app.mouse(click(5, row));
    assert!(matches!(
        app.overlays.last(),
        Some((Overlay::Event { .. }, _))
    ));
    let (from, _, view) = app.tabs[1];
    app.mouse(click(from, 1));
    assert_eq!((app.view, view), (View::Jobs, View::Jobs));
}

#[test]
fn what_is_shown_can_be_written_and_left() {
    let mut app = site();
    app.set_filter("salt/auth").unwrap();
    press(&mut app, &[KeyCode::Char('w')]);
    let lines = app.export.take().unwrap();
    let number = lines
        .strip_prefix("{\"seq\": ")
        .and_then(|rest| rest.split_once(", \"time\": \"2026-11-29T10:00:"));
    let (_, rest) = number.unwrap_or_else(|| panic!("{lines}"));
    let event = "Z\", \"tag\": \"salt/auth\", \"data\": {\"id\": \"db3\", \"act\": \"pend\", \"result\": true}}\n";
    assert!(rest.ends_with(event), "{lines}");
    press(&mut app, &[KeyCode::Char('q')]);
    assert!(app.is_over);
}

#[test]
fn the_smallest_screens_are_drawn_too() {
    let mut app = site();
    for width in [1, 19, 20, 40, 300] {
        for height in [1, 4, 5, 9, 10, 60] {
            for key in ['1', '2', '3', '4', '5', '6', 'm', '?'] {
                press(&mut app, &[KeyCode::Char(key)]);
                picture(&mut app, width, height);
            }
        }
    }
}

#[test]
fn strangers_text_does_not_reach_the_terminal() {
    let mut app = site();
    let evil = "\u{1b}[2J\u{202e}evil";
    app.take(event(
        300_000,
        59_000,
        evil,
        &[("id", evil.into()), ("x", evil.into())],
    ));
    app.take(event(
        300_001,
        59_000,
        &format!("salt/job/1/ret/{evil}"),
        &[
            ("fun", evil.into()),
            ("return", evil.into()),
            ("retcode", 1.into()),
        ],
    ));
    for key in ['1', '2', '3', '4', '5'] {
        press(&mut app, &[KeyCode::Char(key)]);
        let shown = picture(&mut app, 120, 40);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{key}: {shown}");
    }
}

#[test]
fn the_absence_of_the_master_that_was_joined_is_said_while_it_lasts() {
    let mut app = site();
    let mut picture_when = |joined: bool| {
        let attach = Map::from_iter([("joined", joined)]);
        let status = Map::from_iter([("attach", attach)]);
        app.take(Item::Status {
            status: Some(status),
            consumers: Vec::new(),
        });
        picture(&mut app, 80, 24)
    };
    let away = "  away: the salt-master or salt-minion ";
    for (joined, is_said) in [(true, false), (false, true), (true, false)] {
        let picture = picture_when(joined);
        let said = picture.starts_with("\"✗ ") && picture.contains(away);
        assert_eq!(said, is_said, "{picture}");
    }
    app.take(Item::Link(Link::Lost(BUS_AWAY.to_owned())));
    let picture = picture(&mut app, 80, 24);
    assert!(picture.contains("brine attach has ended: "), "{picture}");
}

#[test]
fn of_a_terminal_that_says_it_is_huge_a_part_is_drawn() {
    let area = |width, height| super::drawn(ratatui::layout::Size::new(width, height)).as_size();
    assert_eq!(area(80, 24), (80, 24).into());
    assert_eq!(area(10_000, 10_000), super::LARGEST);
    assert_eq!(area(u16::MAX, 1), (500, 1).into());
}
