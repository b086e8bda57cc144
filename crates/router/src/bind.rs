//! Opening ports.

use std::net::{IpAddr, TcpListener};

use crate::error::{RouterError, RouterResult};

/// Listens on every address. An address family that this machine lacks is left out as long as one remains.
pub(crate) fn bind(addresses: &[IpAddr], port: u16) -> RouterResult<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind_one(*address, port) {
            Ok(socket) => sockets.push(socket),
            Err(error) => match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    return Err(RouterError::Conflict(format!(
                        "port {port} on {address} is taken by another process; `ss -ltnp 'sport = :{port}'` names it"
                    )));
                }
                std::io::ErrorKind::PermissionDenied => {
                    return Err(RouterError::Invalid(format!(
                        "port {port} needs a privilege that this user lacks; choose one above 1023"
                    )));
                }
                std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::Unsupported => missing = Some(error),
                _ if error.raw_os_error() == Some(97) => missing = Some(error), // EAFNOSUPPORT
                _ => return Err(RouterError::Unavailable(format!("cannot listen on {address} port {port}: {error}"))),
            },
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => {
            Err(RouterError::Unavailable(format!("cannot listen on port {port}: {error}")))
        }
        _ => Ok(sockets),
    }
}

fn bind_one(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpListener::bind((address, port))?;
    socket.set_nonblocking(true)?;
    // The connections accepted from it inherit this, which spares each of them a call.
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}
