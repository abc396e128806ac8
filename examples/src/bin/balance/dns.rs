//! A DNS server with one name: every question for IPv4 addresses is answered with all of them.

use std::net::{Ipv4Addr, SocketAddr};

use rpc_examples::process::Outcome;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The length of a DNS header.
const HEADER: usize = 12;

/// The type of a question for IPv4 addresses.
const TYPE_A: [u8; 2] = [0, 1];

pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl DnsServer {
    pub(crate) async fn start(hosts: &[Ipv4Addr]) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, hosts) = (socket.local_addr()?, hosts.to_vec());

        let task = tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                if let Some(answer) = answer(&packet[..length], &hosts) {
                    // A client that does not get it asks again.
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query with one question (RFC 1035, section 4); `None` for what is not one.
fn answer(query: &[u8], hosts: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let name_length = query.get(HEADER..)?.iter().position(|&byte| byte == 0)? + 1;
    let question = query.get(HEADER..HEADER + name_length + 4)?;
    let is_for_addresses = question[name_length..].starts_with(&TYPE_A);
    let hosts = if is_for_addresses { hosts } else { &[] };

    let mut answer = query[..2].to_vec();
    // A reply, recursion as it was asked for, no error; one question, an answer for each host.
    answer.extend([
        0x81,
        0x80,
        0,
        1,
        0,
        u8::try_from(hosts.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    for host in hosts {
        // The name of the question, an IPv4 address, valid for a minute.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(host.octets());
    }
    Some(answer)
}
