//! What a person sees. Each snapshot is one manifest with several mistakes, so that "every problem at once" is seen too.

use crate::{codes_of, found, found_with, rendered};
use landfall_manifest::{SourceFile, render};

macro_rules! snapshot {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(rendered($text)); })*
    };
}

snapshot! {
    shape: "\
project: Shop
servces: {}
services:
  web:
    desired_count: two
    containers:
      app:
        imagee: nginx
        image: nginx
        image: nginx:2
        command: npm start
        ports: 3000
        essential: yes
        environment: {EMPTY: , MODE: [a]}
        depends_on: {db: start}
    load_balancer: {container: app, port: 99999}
previews:
  ttl: 3 days
  routing: {host: {}, ports: {range: 8000}}
  hooks:
    migrate: {when: before_creat, run: {}}
";
    sizes: "\
project: shop
services:
  a: {cpu: 300, memory: 512, containers: {app: {image: nginx}}}
  b: {cpu: 256, memory: 4096, containers: {app: {image: nginx}}}
  c: {cpu: 1024, containers: {app: {image: nginx, stop_timeout: 5m}}}
  d: {cpu: 512, memory: 1024, containers: {app: {image: nginx, memory: 800}, side: {image: nginx, memory: 800, essential: false}}}
  e: {cpu: 4, containers: {app: {image: nginx, essential: false}}}
  f: {launch_type: local, cpu: 300, memory: 300, containers: {app: {image: nginx, stop_timeout: 5m}}}
";
    dependencies: "\
project: shop
services:
  web:
    containers:
      app:
        image: nginx
        depends_on: {proxi: START, app: START, setup: SUCCESS}
      proxy:
        image: nginx
        depends_on: {setup: HEALTHY, one: START}
      setup: {image: busybox}
      one: {image: busybox, depends_on: {two: START}}
      two: {image: busybox, depends_on: {three: START}}
      three: {image: busybox, depends_on: {one: START}}
";
    containers: "\
project: shop
services:
  web:
    containers:
      app:
        image: https://ghcr.io/acme/App
        ports: [80, 3000]
        health_check: {command: [curl, localhost], interval: 5s, timeout: 30s}
        environment: {DB_PASSWORD: hunter2, 1X: a, KEY: b}
        secrets: {KEY: {env: KEY}, OTHER: {vault: x}}
        user: 1000
      proxy:
        build: {context: ../other}
        image: nginx
        ports: [80]
      worker:
        await: {image: 'acme/app:{sha}'}
        working_directory: app
    load_balancer:
      container: prox
      health_check: {path: health, interval: 1s, timeout: 2s, matcher: 2xx}
      idle_timeout: 1500ms
";
    previews: "\
project: shop
repositories:
  shop: {github: 'https://github.com/acme/shop.git'}
services:
  web: {containers: {app: {build: {}, ports: [80]}}}
environments:
  Staging: {services: [wbe]}
previews:
  branches: ['feature/[', refs/heads/x]
  services: [web, web]
  routing: {ports: {range: 9000-80}}
  ttl: 5s
  hooks:
    migrate: {when: after_destroy, run: {task: {service: web, container: ap, command: [x]}}}
    call: {when: after_create, run: {http: {url: 'localhost:80', method: FETCH}}}
    nothing: {when: after_create, run: {command: []}}
notifications:
  team: {slack: {channel: x}, log: {}}
  none: {on: [creatd]}
";
    host_routing: "\
project: shop
services: {web: {containers: {app: {image: nginx, ports: [80]}}, load_balancer: {}}}
previews: {routing: {host: {domain: 'http://x.localhost:80', port: 0}}}
";
    source_password: "\
project: shop
repositories:
  shop: {source: 'https://bot:s3cret@git.example/shop.git'}
  token: {source: 'ssh://git@git.example/token.git'}
services:
  web: {containers: {app: {image: nginx}}}
";
    tab: "project: shop\nservices:\n\tweb: {}\n";
    unclosed: "project: shop\nservices: {web: [\n";
    two_documents: "project: a\nservices: {}\n---\nproject: b\n";
    empty: "# nothing but a comment\n";
    not_a_map: "- project\n- services\n";
    tags_and_keys: "project: !shout shop\n? [a, b]\n: c\nservices: {web: {containers: {app: {image: nginx}}}}\n";
    crlf_and_bom: "\u{feff}project: shop\r\nservices:\r\n  web:\r\n    containers:\r\n      app: {imag: nginx}\r\n";
}

#[test]
fn variables() {
    let text = "\
project: ${PROJECT}
services:
  web:
    desired_count: ${COUNT}
    containers:
      app:
        image: ${IMAGE:?the CI sets it}
        command: [sh, -c, 'echo $HOME $${HOME} ${X-default}']
        environment: {A: '${B', C: '${1}', D: '${E/x}'}
        ports: ['${SECRET_PORT}']
";
    let vars = |name: &str| match name {
        "COUNT" => Some("many".to_owned()),
        "SECRET_PORT" => Some("hunter2".to_owned()),
        _ => None,
    };
    let found = found_with(text, &vars);
    let shown = render(&found, &SourceFile::new("landfall.yml", text), false);
    assert!(!shown.contains("hunter2"));
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    insta::assert_snapshot!(shown);
}

#[test]
fn json_has_places() {
    let found = found_with("project: shop\nservices: {web: {containers: {app: {imag: x}}}}\n", &crate::nothing);
    insta::assert_json_snapshot!(found);
}

#[test]
fn colour_only_where_it_is_wanted() {
    let text = "project: 1\n";
    let source = SourceFile::new("landfall.yml", text);
    let found = crate::found(text);
    assert!(render(&found, &source, true).contains('\u{1b}'));
    assert!(!render(&found, &source, false).contains('\u{1b}'));
}

#[test]
fn terminal_escapes_in_a_manifest_are_shown_and_not_sent() {
    assert!(!rendered("project: \"\\e[31mred\"\nservices: {}\n\"\\e]0;x\": 1\n").contains('\u{1b}'));
}

#[test]
fn percentages_that_leave_no_room_to_update_few_tasks_are_warned_about() {
    let check = |own: &str, percentages: &str, rest: &str| {
        let service = format!("{own}containers: {{app: {{image: nginx}}}}, deployment: {{{percentages}}}");
        found(&format!("project: shop\nservices: {{web: {{{service}}}}}\n{rest}"))
    };
    let codes = |own: &str, percentages: &str, rest: &str| {
        check(own, percentages, rest).iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>()
    };
    let (tight, previews) = ("minimum_healthy_percent: 50, maximum_percent: 150", "previews: {desired_count: 1}\n");
    let warning = &check("", tight, "")[0];
    assert_eq!(warning.severity, landfall_manifest::Severity::Warning);
    assert_eq!(warning.message, "an update of one task could neither start a task nor stop one");
    assert_eq!(codes("desired_count: 1, ", tight, ""), ["LF-M034"]);
    assert_eq!(codes("desired_count: 2, ", tight, ""), [""; 0]);
    assert_eq!(codes("desired_count: 0, ", tight, ""), [""; 0]);
    assert_eq!(codes("desired_count: 2, ", "minimum_healthy_percent: 60, maximum_percent: 140", ""), ["LF-M034"]);
    assert_eq!(codes("", "maximum_percent: 199", ""), ["LF-M034"]);
    assert_eq!(codes("", "minimum_healthy_percent: 0, maximum_percent: 100", ""), [""; 0]);
    assert_eq!(codes("", "minimum_healthy_percent: 50", ""), [""; 0]);
    // What previews run counts, and what lasting environments run.
    let count = |rest: &str| codes("desired_count: 4, ", tight, rest).iter().filter(|code| **code == "LF-M034").count();
    let without = codes("desired_count: 4, ", "", previews).iter().filter(|code| **code == "LF-M034").count();
    assert_eq!(count(previews), without + 1);
    assert_eq!(count(&previews.replace('1', "2")), without);
    // An error already.
    assert_eq!(codes("", "maximum_percent: 100", ""), ["LF-M032"]);
}

#[test]
fn a_broken_service_is_not_unknown_to_those_who_refer_to_it() {
    let text = "project: shop\nservices: {web: {containers: 5, load_balancer: {container: app, port: 80}}}\n\
                environments: {prod: {services: [web]}}\n";
    assert_eq!(codes_of(text), ["LF-M007"]);
}
