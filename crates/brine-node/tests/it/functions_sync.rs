//! `saltutil.sync_modules` against a master that answers well, and one that does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use brine_node::functions::{Call, Functions, FunctionsConfig, Host, HostRequest, Outcome};
use brine_wire::python_text::repr;
use brine_wire::{Map, Value};
use tempfile::TempDir;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A minion whose master has these files, and what it was asked.
struct Site {
    dir: TempDir,
    functions: Functions,
    files: Files,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(path, bytes)| (String::from(*path), bytes.to_vec()));
        let files: Files = Arc::new(Mutex::new(files.collect()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (host, mut requests) = Host::new();
        let (served, heard) = (Arc::clone(&files), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    HostRequest::Master { load, answer } => {
                        heard.lock().unwrap().push(repr(&load.clone().into()));
                        let answered = serve(&served.lock().unwrap(), &load);
                        answer.send(Ok(answered)).unwrap();
                    }
                    HostRequest::Fire { answer, .. } => answer.send(Ok(())).unwrap(),
                    _ => {}
                }
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let cachedir = dir.path().join("cache").display().to_string();
        let opts: Map = [("id", "m1"), ("cachedir", &cachedir)]
            .into_iter()
            .collect();
        Self {
            functions: Functions::new(FunctionsConfig::new(opts), host),
            dir,
            files,
            asked,
        }
    }

    async fn run(&self, fun: &str, args: &[Value]) -> Outcome {
        self.functions
            .run(Call::new(fun).arguments(args.to_vec()))
            .await
    }

    async fn sync(&self) -> String {
        repr(&self.run("saltutil.sync_modules", &[]).await.ret)
    }

    /// Every file there is, relative to the scratch directory.
    fn all_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.dir.path(), &mut found);
        let relative = |path: PathBuf| {
            let path = path.strip_prefix(self.dir.path()).unwrap().to_owned();
            path.display().to_string()
        };
        let mut found: Vec<_> = found.into_iter().map(relative).collect();
        found.sort();
        found
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What Salt's file server answers, in parts of five bytes.
fn serve(files: &BTreeMap<String, Vec<u8>>, load: &Map) -> Value {
    let text = |name| load.get(name).and_then(Value::as_str).unwrap();
    let answer: Map = match text("cmd") {
        "_file_list" => {
            return files
                .keys()
                .map(|path| path.as_str().into())
                .collect::<Vec<_>>()
                .into();
        }
        "_file_hash" => Map::new(),
        "_serve_file" => {
            let bytes = &files[text("path")];
            let at = usize::try_from(load.get("loc").and_then(Value::as_int).unwrap()).unwrap();
            let part = bytes[at..bytes.len().min(at + 5)].to_vec();
            [("data", Value::Bin(part)), ("dest", text("path").into())]
                .into_iter()
                .collect()
        }
        other => panic!("{other} was asked"),
    };
    answer.into()
}

#[tokio::test]
async fn new_and_changed_modules_come_and_run_and_what_is_gone_is_removed() {
    let site = Site::new(&[
        ("_modules/mine.py", b"def f(): return 'one'\n"),
        ("_modules/deep/inner.py", b"x = 1\n"),
        ("_modules/notes.txt", b"no module"),
        ("top.sls", b"base: {}\n"),
    ]);
    assert_eq!(site.sync().await, "['modules.deep.inner', 'modules.mine']");
    assert_eq!(site.run("mine.f", &[]).await.ret, "one".into());
    assert_eq!(site.sync().await, "[]");
    assert_eq!(
        site.all_files(),
        [
            "cache/extmods/modules/deep/inner.py",
            "cache/extmods/modules/mine.py",
            "cache/files/base/_modules/deep/inner.py",
            "cache/files/base/_modules/mine.py",
            "cache/module_refresh",
        ]
    );
    let asked = site.asked.lock().unwrap().clone();
    assert_eq!(
        asked[0],
        "{'saltenv': 'base', 'prefix': '_modules', 'cmd': '_file_list'}"
    );
    let changed = b"def f(): return 'two'\n".to_vec();
    site.files
        .lock()
        .unwrap()
        .insert("_modules/mine.py".into(), changed);
    site.files.lock().unwrap().remove("_modules/deep/inner.py");
    assert_eq!(site.sync().await, "['modules.mine']");
    assert_eq!(site.run("mine.f", &[]).await.ret, "two".into());
    assert!(!site.dir.path().join("cache/extmods/modules/deep").exists());
    let all = site.run("saltutil.sync_all", &[]).await.ret;
    assert_eq!(
        all.as_map().unwrap().get("modules"),
        Some(&Value::Array(vec![]))
    );
}

#[tokio::test]
async fn a_hostile_master_writes_nothing_outside() {
    let evil: Vec<String> = [
        "../evil.py",
        "a/../../../evil.py",
        "/evil.py",
        "x\0.py",
        "..\\evil.py",
    ]
    .map(|path| format!("_modules/{path}"))
    .to_vec();
    let mut files: Vec<(&str, &[u8])> = vec![("_modules/good.py", b"")];
    files.extend(evil.iter().map(|path| (path.as_str(), b"x".as_slice())));
    files.push(("/etc/evil.py", b"x"));
    let site = Site::new(&files);
    assert_eq!(site.sync().await, "['modules.good']");
    assert!(
        site.all_files().iter().all(|path| !path.contains("evil")),
        "{:?}",
        site.all_files()
    );
    for environment in ["../..", "/etc", "..", "a/b"] {
        let refused = site
            .run("saltutil.sync_modules", &[environment.into()])
            .await;
        assert!(!refused.success, "{environment}");
    }
}

#[tokio::test]
async fn lists_say_which_modules_are_wanted_and_other_kinds_are_refused() {
    let site = Site::new(&[("_modules/a.py", b"1"), ("_modules/b.py", b"2")]);
    let only = site
        .run("saltutil.sync_modules", &["extmod_whitelist=b".into()])
        .await;
    assert_eq!(repr(&only.ret), "['modules.b']");
    let but = site
        .run("saltutil.sync_modules", &["extmod_blacklist=b".into()])
        .await;
    assert_eq!(repr(&but.ret), "['modules.a']");
    let grains = site.run("saltutil.sync_grains", &[]).await;
    assert!(
        grains
            .ret
            .as_str()
            .unwrap()
            .starts_with("ERROR: expected execution"),
        "{grains:?}"
    );
}

#[tokio::test]
async fn without_a_master_modules_come_from_the_minions_own_file_roots() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("roots");
    std::fs::create_dir_all(root.join("_modules")).unwrap();
    std::fs::write(root.join("_modules/mine.py"), "def f(): return 1\n").unwrap();
    let roots: Map = [(
        "base",
        Value::Array(vec![root.display().to_string().into()]),
    )]
    .into_iter()
    .collect();
    let mut opts: Map = [("file_client", "local")].into_iter().collect();
    opts.insert("cachedir", dir.path().join("cache").display().to_string());
    opts.insert("file_roots", roots);
    let functions = Functions::new(FunctionsConfig::new(opts), Host::new().0);
    let synchronised = functions.run(Call::new("saltutil.sync_modules")).await;
    assert_eq!(repr(&synchronised.ret), "['modules.mine']");
    assert_eq!(functions.run(Call::new("mine.f")).await.ret, Value::Int(1));
}
