//! The sidecar: passes bytes to the application, which on Fargate and here is on localhost. It works on the stream and not on
//! requests, so that upgrades and long bodies need no thought; `/health` therefore is the application's.
//!
//! With `--fail-health` it lets nothing through, which is what a broken proxy looks like from the load balancer.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{ProxyArgs, log};

pub(super) async fn serve(args: ProxyArgs) -> std::io::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    log(&format!("proxy listens on {}, passes on to {}", args.listen, args.upstream));
    loop {
        let (mut client, _) = listener.accept().await?;
        let (upstream, broken) = (args.upstream, args.faults.fail_health);
        tokio::spawn(async move {
            let server = if broken { None } else { TcpStream::connect(upstream).await.ok() };
            let Some(mut server) = server else {
                let _ = client
                    .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 20\r\nConnection: close\r\n\r\nno application here\n")
                    .await;
                return;
            };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
