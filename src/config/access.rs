//! Who may connect: addresses and networks that are let in, or kept out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fault::quoted;
use super::value::digits;

/// The clients of a pool, by their addresses. The default lets everybody in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Who is let in; nobody else is, unless it is empty.
    pub white: Vec<Network>,
    /// Who is kept out, whatever `white` says.
    pub black: Vec<Network>,
}

impl Access {
    /// Whether it lets everybody in, so that nobody's address matters.
    pub fn is_open(&self) -> bool {
        self.white.is_empty() && self.black.is_empty()
    }

    /// Whether a client at this address is let in. One whose address is not known is let in only
    /// where everybody is.
    pub fn allows(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else { return self.is_open() };
        // A listener on `::` sees IPv4 clients as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(peer));
        !is_in(&self.black) && (self.white.is_empty() || is_in(&self.white))
    }
}

/// All addresses of one kind that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits: up to 32 for IPv4, up to 128 for IPv6.
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `fd00::1` or `fd00::/8`. Bits behind the prefix do not
    /// matter.
    ///
    /// Errors: the text of a fault.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is neither an address nor a network; 10.0.0.1, 10.0.0.0/8 or fd00::/8 would \
                 be right",
                quoted(text)
            )
        };
        let (address_text, prefix_text) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address_text.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let prefix = match prefix_text.map(|text| digits(text).ok_or_else(wrong)).transpose()? {
            None => bits,
            Some(prefix) if prefix <= u64::from(bits) => prefix as u32,
            Some(_) => {
                return Err(format!(
                    "{} has a prefix out of range: from 0 to {bits} would be right",
                    quoted(text)
                ));
            }
        };
        Ok(Self { address, prefix }.canonical())
    }

    /// Whether an address, in its canonical form, is one of the network's.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(Ipv4Addr::BITS - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(Ipv6Addr::BITS - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// IPv4 that is written as IPv6, as IPv4: so are the addresses that it is compared with.
    fn canonical(self) -> Self {
        let mapped = Ipv6Addr::BITS - Ipv4Addr::BITS;
        match (self.address.to_canonical(), self.prefix.checked_sub(mapped)) {
            (IpAddr::V4(address), Some(prefix)) if self.address.is_ipv6() => {
                Self { address: IpAddr::V4(address), prefix }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(networks: &[&str]) -> Vec<Network> {
        networks.iter().map(|text| Network::read(text).unwrap()).collect()
    }

    fn contains(network: &str, address: &str) -> bool {
        Network::read(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_what_begins_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.0"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.9.9.9/8", "10.0.0.0", "9.255.255.255"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("fd00::1", "fd00::1", "fd00::2"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "ffff::", "0.0.0.0"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn black_wins_and_an_empty_white_list_lets_everybody_in() {
        let peer = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let access = Access { white: list(&["10.0.0.0/8"]), black: list(&["10.6.0.0/16"]) };
        assert!(access.allows(peer("10.1.1.1")));
        assert!(access.allows(peer("::ffff:10.1.1.1")));
        assert!(!access.allows(peer("::ffff:10.6.1.1")));
        assert!(!access.allows(peer("10.6.1.1")));
        assert!(!access.allows(peer("192.168.0.1")));
        assert!(!access.allows(None));
        let only_black = Access { white: vec![], ..access };
        assert!(only_black.allows(peer("192.168.0.1")) && !only_black.allows(peer("10.6.1.1")));
        assert!(Access::default().allows(None));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0", "10.0.0.1/", "10.0.0.1/+8", "localhost", "10.0.0.*", "/8"] {
            assert!(Network::read(text).unwrap_err().contains("neither"), "{text}");
        }
        for text in ["10.0.0.1/33", "fd00::/129", "10.0.0.0/99999999999999999999"] {
            assert!(Network::read(text).is_err(), "{text}");
        }
    }
}
