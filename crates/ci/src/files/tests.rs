use super::*;

fn release() -> Binary {
    Binary::Release {
        url: "https://releases.example/landfall-1.2.3-x86_64-linux.tar.gz".to_owned(),
        sha256: "ab".repeat(32),
    }
}

fn settings(binary: Binary, needs: Needs) -> Settings {
    Settings {
        binary,
        role: Some("arn:aws:iam::111122223333:role/landfall".to_owned()),
        region: Some("eu-central-1".to_owned()),
        state: None,
        needs,
        beside: false,
    }
}

const ALL: Needs = Needs { branches: true, tags: true, pull_requests: true, engine: true, aws: true };

#[test]
fn each_host_has_its_file() {
    for host in For::ALL {
        insta::assert_snapshot!(format!("{}_whole", host.word()), render(host, &settings(release(), ALL)));
    }
}

#[test]
fn records_are_kept_once_by_the_host_or_in_a_shared_state() {
    for host in For::ALL {
        let text = |state: Option<&str>| {
            let state = state.map(str::to_owned);
            render(host, &Settings { state, ..settings(release(), ALL) }).replace("--no-cache", "")
        };
        assert!(text(None).contains("cache") && !text(None).contains("LANDFALL_STATE"), "{host:?}");
        let shared = text(Some("s3://acme-state/shop"));
        assert!(
            !shared.contains("cache") && shared.contains("LANDFALL_STATE") && shared.contains("ci resume"),
            "{shared}"
        );
    }
}

#[test]
fn jobs_log_in_to_the_registry_beside_the_code() {
    for host in For::ALL {
        let text = |beside| render(host, &Settings { beside, ..settings(release(), ALL) });
        let logs_in = |text: &str| text.contains("docker login") || text.contains("/.docker/config.json");
        assert!(!logs_in(&text(false)) && !text(false).contains("packages:"), "{host:?}");
        assert_eq!(logs_in(&text(true)), host.registry().is_some(), "{host:?}");
        assert_eq!(text(true).contains("packages: write"), host == For::GitHub, "{host:?}");
    }
}

/// Long enough that `base64` breaks its lines, and with what a shell might take for its own.
#[test]
#[allow(clippy::disallowed_methods, reason = "what a shell makes of it only a shell tells")]
fn gitlabs_login_is_what_docker_would_have_written() {
    use base64::Engine as _;

    let home = tempfile::tempdir().unwrap();
    let tools = home.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    for tool in ["sh", "mkdir", "base64", "tr", "grep"] {
        let found = ["/usr/bin", "/bin"].map(|directory| std::path::Path::new(directory).join(tool));
        std::os::unix::fs::symlink(found.iter().find(|path| path.exists()).unwrap(), tools.join(tool)).unwrap();
    }
    let password = format!("glcbt-%s$HOME\"'\\{}", "x".repeat(80));
    let done = std::process::Command::new("sh")
        .args(["-ec", hosts::GITLAB_LOGIN])
        .env("HOME", home.path())
        // Without docker.
        .env("PATH", &tools)
        .env("CI_REGISTRY", "registry.gitlab.com")
        .env("CI_REGISTRY_USER", "gitlab-ci-token")
        .env("CI_REGISTRY_PASSWORD", &password)
        .status();
    assert!(done.unwrap().success());
    let written = std::fs::read(home.path().join(".docker/config.json")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let login = written["auths"]["registry.gitlab.com"]["auth"].as_str().unwrap();
    assert_eq!(login, base64::prelude::BASE64_STANDARD.encode(format!("gitlab-ci-token:{password}")));
}

#[test]
fn keys_that_last_are_nowhere_where_there_is_oidc() {
    for host in For::ALL {
        let text = render(host, &settings(release(), ALL));
        assert_eq!(text.contains("AWS_SECRET_ACCESS_KEY"), host == For::Travis, "{text}");
        assert_eq!(text.contains("role/landfall"), host.has_oidc(), "{text}");
    }
}

#[test]
fn nothing_of_aws_without_aws_and_no_binary_without_a_check() {
    let few = Needs { branches: true, ..Needs::default() };
    for host in For::ALL {
        let text = render(host, &settings(release(), few));
        assert!(!text.contains("AWS_"), "{text}");
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        assert!(at("sha256sum -c") < at("tar -xzf"), "nothing is unpacked that is not checked: {text}");
        let bare = Binary::Release { url: "https://releases.example/landfall".to_owned(), sha256: "ab".repeat(32) };
        let bare = render(host, &settings(bare, few));
        assert!(bare.contains("sha256sum -c") && bare.contains("chmod +x") && !bare.contains("tar -"), "{bare}");
        let image = Binary::Image { reference: "registry.example/landfall@sha256:ab".to_owned() };
        assert!(render(host, &settings(image, few)).contains("docker cp"), "{text}");
        let cargo = Binary::Cargo { source: "https://git.example/landfall".to_owned(), rev: "c1".to_owned() };
        let compiled = |needs| render(host, &settings(cargo.clone(), needs));
        assert!(
            compiled(few).contains("cargo install --locked") && compiled(few).contains("https://sh.rustup.rs"),
            "{text}"
        );
        // Alpine's image of Rust has no docker.
        assert_eq!(compiled(ALL).contains("linux-headers docker-cli"), host == For::GitLab, "{host:?}");
    }
}
