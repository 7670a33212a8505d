//! The operating system, the processor, the user and the process.

use brine_wire::{Map, Value};
use rustix::process::{getgid, getuid};
use rustix::system::uname;

use super::read;

pub(super) fn insert_into(grains: &mut Map) {
    let uname = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cpuarch = text(uname.machine());
    grains.insert("kernel", text(uname.sysname()));
    grains.insert("kernelrelease", text(uname.release()));
    grains.insert("kernelversion", text(uname.version()));
    grains.insert("cpuarch", cpuarch.as_str());
    grains.insert("init", init());
    release(grains, &read("/etc/os-release"), &cpuarch);
    processor(grains, &read("/proc/cpuinfo"));
    let memory = read("/proc/meminfo");
    grains.insert("mem_total", mebibytes(&memory, "MemTotal:"));
    grains.insert("swap_total", mebibytes(&memory, "SwapTotal:"));
    grains.insert("kernelparams", kernel_parameters(&read("/proc/cmdline")));
    let machine_id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(read);
    let machine_id = machine_id
        .iter()
        .map(|id| id.trim())
        .find(|id| !id.is_empty());
    grains.insert("machine_id", machine_id.unwrap_or_default());
    process(grains);
}

fn init() -> &'static str {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        "systemd"
    } else {
        "unknown"
    }
}

/// The contents of `os-release`, under Salt's names.
fn release(grains: &mut Map, text: &str, cpuarch: &str) {
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default()
            .trim()
            .trim_matches(['"', '\''])
            .to_owned()
    };
    let (id, full_name, release) = (field("ID"), field("NAME"), field("VERSION_ID"));
    let (os, family) = names(&id, &full_name);
    grains.insert("os", os.as_str());
    grains.insert("os_family", family.as_str());
    grains.insert("osfullname", full_name.as_str());
    grains.insert(
        "oscodename",
        match field("VERSION_CODENAME") {
            name if name.is_empty() => field("PRETTY_NAME"),
            name => name,
        },
    );
    grains.insert("osrelease", release.as_str());
    let numbers: Vec<Value> = release
        .split('.')
        .map(|part| {
            part.parse::<i64>()
                .map_or_else(|_| part.into(), Value::from)
        })
        .collect();
    if let Some(major) = numbers.first().filter(|_| !release.is_empty()) {
        let shown = if os == "Ubuntu" {
            release.as_str().into()
        } else {
            major.clone()
        };
        let name = if os == "Debian" { &os } else { &full_name };
        let shown = brine_wire::python_text::str(&shown);
        grains.insert("osfinger", format!("{name}-{shown}"));
        grains.insert("osmajorrelease", major.clone());
    }
    grains.insert("osrelease_info", numbers);
    grains.insert("osarch", architecture(&family, cpuarch));
}

/// `os` and `os_family` for an id of `os-release`.
fn names(id: &str, full_name: &str) -> (String, String) {
    let (os, family) = match id {
        "debian" => ("Debian", "Debian"),
        "raspbian" => ("Raspbian", "Debian"),
        "ubuntu" => ("Ubuntu", "Debian"),
        "linuxmint" => ("Mint", "Debian"),
        "pop" => ("Pop", "Debian"),
        "kali" => ("Kali", "Debian"),
        "devuan" => ("Devuan", "Debian"),
        "rhel" => ("RedHat", "RedHat"),
        "centos" if full_name.contains("Stream") => ("CentOS Stream", "RedHat"),
        "centos" => ("CentOS", "RedHat"),
        "fedora" => ("Fedora", "RedHat"),
        "rocky" => ("Rocky", "RedHat"),
        "almalinux" => ("AlmaLinux", "RedHat"),
        "ol" => ("OEL", "RedHat"),
        "amzn" => ("Amazon", "RedHat"),
        "photon" => ("VMware Photon OS", "RedHat"),
        "sles" | "sled" | "opensuse-leap" | "opensuse-tumbleweed" => ("SUSE", "Suse"),
        "arch" => ("Arch", "Arch"),
        "manjaro" => ("Manjaro", "Arch"),
        "alpine" => ("Alpine", "Alpine"),
        "gentoo" => ("Gentoo", "Gentoo"),
        "nixos" => ("NixOS", "NixOS"),
        _ => (full_name, full_name),
    };
    (os.into(), family.into())
}

/// The processor's name in package names.
fn architecture(family: &str, cpuarch: &str) -> String {
    let name = match (family, cpuarch) {
        ("Debian", "x86_64") => "amd64",
        ("Debian", "aarch64") => "arm64",
        ("Debian", "armv7l") => "armhf",
        ("Debian", "i686" | "i586") => "i386",
        ("Debian", "ppc64le") => "ppc64el",
        _ => cpuarch,
    };
    name.into()
}

fn processor(grains: &mut Map, text: &str) {
    let fields = || {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.trim(), value.trim()))
    };
    let first = |wanted: &[&str]| fields().find(|(name, _)| wanted.contains(name));
    let count = fields().filter(|(name, _)| *name == "processor").count();
    grains.insert("num_cpus", i64::try_from(count).unwrap_or(i64::MAX));
    let model = first(&["model name", "Model", "cpu model"]);
    grains.insert("cpu_model", model.map_or("Unknown", |(_, model)| model));
    let flags = first(&["flags", "Features"]).map_or("", |(_, flags)| flags);
    let flags: Vec<Value> = flags.split_whitespace().map(Value::from).collect();
    grains.insert("cpu_flags", flags);
}

fn mebibytes(meminfo: &str, name: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kibibytes.unwrap_or(0) / 1024
}

/// Pairs of name and value; None where there is no value.
fn kernel_parameters(line: &str) -> Vec<Value> {
    let pair = |word: &str| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Value::from(value.trim_matches('"'))),
            None => (word, Value::Nil),
        };
        Value::Array(vec![name.into(), value])
    };
    line.split_whitespace().map(pair).collect()
}

fn process(grains: &mut Map) {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let name_of = |file: &str, number: u32| {
        let number = number.to_string();
        let text = read(file);
        let line = text
            .lines()
            .find(|line| line.split(':').nth(2) == Some(&number));
        let name = line.and_then(|line| line.split(':').next());
        name.map(str::to_owned).unwrap_or(number)
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    grains.insert("username", name_of("/etc/passwd", uid));
    grains.insert("groupname", name_of("/etc/group", gid));
    grains.insert("uid", i64::from(uid));
    grains.insert("gid", i64::from(gid));
    grains.insert("pid", i64::from(std::process::id()));
    grains.insert("shell", variable("SHELL").unwrap_or("/bin/sh".into()));
    let path = variable("PATH").unwrap_or_default();
    let places: Vec<Value> = path.split(':').map(Value::from).collect();
    grains.insert("path", path.as_str());
    grains.insert("systempath", places);
    let directory = std::env::current_dir().unwrap_or_default();
    grains.insert("cwd", directory.to_string_lossy().into_owned());
    grains.insert("locale_info", locale(variable));
}

fn locale(variable: impl Fn(&str) -> Option<String>) -> Map {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(variable);
    let (language, encoding) = match set
        .as_deref()
        .map(|name| name.split_once('.').unwrap_or((name, "")))
    {
        None | Some(("C" | "POSIX", "")) => (Value::Nil, Value::Nil),
        Some(("C", encoding)) => ("en_US".into(), encoding.into()),
        Some((language, "")) => (language.into(), "ISO8859-1".into()),
        Some((language, encoding)) => (language.into(), encoding.into()),
    };
    let mut locale = Map::new();
    locale.insert("defaultlanguage", language);
    locale.insert("defaultencoding", encoding);
    locale.insert("detectedencoding", "utf-8");
    locale.insert("timezone", "unknown");
    locale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release_of(text: &str) -> Map {
        let mut grains = Map::new();
        release(&mut grains, text, "x86_64");
        grains
    }

    #[test]
    fn releases_have_salts_names() {
        let ubuntu = "NAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\nID=ubuntu\nVERSION_CODENAME=jammy\n";
        let grains = release_of(ubuntu);
        let text = |name| grains.get(name).and_then(Value::as_str);
        assert_eq!(text("os_family"), Some("Debian"));
        assert_eq!(text("osfinger"), Some("Ubuntu-22.04"));
        assert_eq!(text("osarch"), Some("amd64"));
        assert_eq!(grains.get("osmajorrelease"), Some(&Value::Int(22)));
        let rocky = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nVERSION_ID=\"9.3\"\n";
        let grains = release_of(rocky);
        let text = |name| grains.get(name).and_then(Value::as_str);
        assert_eq!(
            (text("os"), text("osarch")),
            (Some("Rocky"), Some("x86_64"))
        );
        assert_eq!(text("osfinger"), Some("Rocky Linux-9"));
    }
}
