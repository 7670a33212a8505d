//! Packages for Debian (what `crates/brine/Cargo.toml` lists) and for systems with RPM (`contrib/rpm/brine.spec`), with
//! manual pages and completions. Wheels of the Python package, and the program as one file that needs nothing of the system.
//!
//! The tools are cargo-deb, installed below `target/` where it is missing, and the system's rpmbuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::command::{capture, cargo, nicely, output, root, run as run_command};
use crate::tally::Tally;

/// The version of cargo-deb.
const CARGO_DEB: &str = "3.8.0";

/// What is built, with which profile of cargo's.
#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    /// Below `target/`.
    folder: &'static str,
    /// Whether the packages are to be small. It takes minutes.
    is_small: bool,
}

const RELEASE: Profile = Profile {
    name: "release",
    folder: "release",
    is_small: true,
};
const DEV: Profile = Profile {
    name: "dev",
    folder: "debug",
    is_small: false,
};

/// The oldest system whose Python takes our wheels: what every tool that makes wheels for all of Linux aims at.
const MANYLINUX: &str = "manylinux2014";

/// Builds the program, both packages and the wheels, and prints what is in them.
pub(crate) fn run() -> anyhow::Result<()> {
    run_command(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "brine",
        // Who installs a package expects what a Linux system has.
        "--features=pam",
    ]))?;
    gather(RELEASE)?;
    let deb = debian(RELEASE, "1")?;
    let rpm = rpm(RELEASE)?;
    println!(
        "{}",
        output(Command::new("dpkg-deb").arg("--contents").arg(&deb))?
    );
    let wheels = root().join("target/package/wheels");
    run_command(
        Command::new(root().join("python/build"))
            .arg(&wheels)
            .env("MANYLINUX", MANYLINUX),
    )?;
    let mut made = vec![deb, rpm];
    for wheel in fs::read_dir(&wheels)? {
        made.push(wheel?.path());
    }
    made.iter().try_for_each(|file| print_size(file))
}

/// Builds the program for a C library that becomes part of it (musl), and tries it in a root that holds nothing else.
///
/// Not glibc: linked statically, it still loads libraries of its own version when it looks up users and names.
pub(crate) fn without_libraries() -> anyhow::Result<()> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    ensure!(
        Command::new("musl-gcc").arg("--version").output().is_ok(),
        "musl-gcc is missing: on Debian and Ubuntu it is in the package musl-tools"
    );
    run_command(Command::new("rustup").args(["target", "add", &target]))?;
    let target = target.as_str();
    let arguments = ["build", "--release", "--locked", "-p", "brine", "--target"];
    run_command(cargo(&arguments).arg(target))?;
    let built = root().join("target").join(target).join("release/brine");
    let folder = root().join("target/package");
    fs::create_dir_all(&folder)?;
    let file = folder.join("brine-static");
    fs::copy(&built, &file)?;
    run_command(Command::new(root().join("tests/package/static")).arg(&file))?;
    print_size(&file)
}

fn print_size(file: &Path) -> anyhow::Result<()> {
    println!("{} bytes: {}", fs::metadata(file)?.len(), file.display());
    Ok(())
}

/// Makes packages of the program that the tests are compiled with, and installs and uses them in a root of their own.
pub(crate) fn test() -> anyhow::Result<Tally> {
    gather(DEV)?;
    let packages = [debian(DEV, "1")?, debian(DEV, "2")?, rpm(DEV)?];
    let (printed, success) =
        capture(Command::new(root().join("tests/package/run")).args(packages))?;
    print!("{printed}");
    let tally = printed.lines().rev().find_map(Tally::parse);
    let tally = tally.context("tests/package/run printed no count")?;
    ensure!(success || tally.failed > 0, "tests/package/run failed");
    Ok(tally)
}

/// What a package holds besides the program, made by the program.
fn gather(profile: Profile) -> anyhow::Result<()> {
    let program = root().join("target").join(profile.folder).join("brine");
    let folder = root().join("target/package");
    let pages = folder.join("man");
    let _ = fs::remove_dir_all(&pages);
    run_command(Command::new(&program).arg("man").arg(&pages))?;
    let script = |shell| output(Command::new(&program).args(["completions", shell]));
    let (bash, fish) = (folder.join("bash"), script("fish")?);
    fs::create_dir_all(&bash)?;
    fs::write(bash.join("brine"), script("bash")?)?;
    fs::write(folder.join("_brine"), script("zsh")?)?;
    // bash and fish look for a file by the command's own name; Salt's packages have those for fish.
    let of_links = fish.lines().filter(|line| line.contains(" --wraps "));
    for line in of_links.clone() {
        let name = line.split_whitespace().nth(2);
        let name = name.context("brine completions fish: a line without a command")?;
        fs::write(bash.join(name), ". \"${BASH_SOURCE[0]%/*}/brine\"\n")?;
    }
    let of_links: Vec<&str> = of_links.collect();
    fs::write(folder.join("brine-links.fish"), of_links.join("\n") + "\n")?;
    fs::write(folder.join("brine.fish"), &fish)?;
    Ok(())
}

fn debian(profile: Profile, revision: &str) -> anyhow::Result<PathBuf> {
    let file = root().join(format!(
        "target/package/brine-{}-{revision}.deb",
        profile.name
    ));
    let mut command = cargo_deb()?;
    command
        .args([
            "--package",
            "brine",
            "--no-build",
            "--profile",
            profile.name,
        ])
        .args(["--deb-revision", revision, "--output"])
        .arg(&file);
    if !profile.is_small {
        command.arg("--fast");
    }
    run_command(&mut nicely(&command))?;
    Ok(file)
}

fn rpm(profile: Profile) -> anyhow::Result<PathBuf> {
    let root = root();
    let package = root.join("target/package");
    let mut program = root.join("target").join(profile.folder).join("brine");
    let payload = if profile.is_small {
        "w19.zstdio"
    } else {
        // Cargo strips a release, and cargo-deb what it packs.
        let stripped = package.join("stripped");
        run_command(Command::new("strip").arg("-o").args([&stripped, &program]))?;
        program = stripped;
        "w.ufdio"
    };
    let defined = [
        ("_topdir", package.join("rpmbuild").display().to_string()),
        ("_rpmdir", package.display().to_string()),
        ("_rpmfilename", format!("brine-{}.rpm", profile.name)),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("root", root.display().to_string()),
        ("program", program.display().to_string()),
        ("payload", payload.to_owned()),
    ];
    let mut command = Command::new("rpmbuild");
    command.arg("-bb").arg("--quiet");
    for (name, value) in defined {
        command.args(["--define", &format!("{name} {value}")]);
    }
    command
        .arg(root.join("contrib/rpm/brine.spec"))
        .current_dir(&root);
    run_command(&mut nicely(&command))
        .context("on Debian and Ubuntu rpmbuild is in the package rpm, on others in rpm-build")?;
    Ok(package.join(format!("brine-{}.rpm", profile.name)))
}

/// cargo-deb, installed first if need be.
fn cargo_deb() -> anyhow::Result<Command> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-deb");
    if !is_version(&program, CARGO_DEB) {
        let mut install = cargo(&["install", "--locked", "--force", "--version", CARGO_DEB]);
        install
            // Optimized, it would take longer to compile than it saves.
            .args(["--debug", "cargo-deb", "--root"])
            .arg(&tools)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", tools.join("target"));
        run_command(&mut nicely(&install))?;
    }
    let mut command = Command::new(program);
    command.current_dir(root());
    Ok(command)
}

fn is_version(program: &Path, version: &str) -> bool {
    let printed = Command::new(program).arg("--version").output();
    printed.is_ok_and(|printed| String::from_utf8_lossy(&printed.stdout).contains(version))
}
