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
        state: Some("s3://acme-state/shop".to_owned()),
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
fn jobs_log_in_to_the_registry_beside_the_code() {
    for host in For::ALL {
        let text = |beside| render(host, &Settings { beside, ..settings(release(), ALL) });
        assert!(!text(false).contains("docker login") && !text(false).contains("packages:"), "{host:?}");
        assert_eq!(text(true).contains("docker login"), host.registry().is_some(), "{host:?}");
        assert_eq!(text(true).contains("packages: write"), host == For::GitHub, "{host:?}");
    }
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
