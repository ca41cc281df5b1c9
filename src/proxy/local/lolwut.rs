//! LOLWUT: for joy.

use crate::proxy::local::{Asked, advertised_version};

/// LOLWUT [VERSION ...]: a ring with a crack, and which program drew it. Redis ends its own drawing
/// with such a line too.
pub(super) fn answer(asked: Asked<'_, '_>) {
    let version = advertised_version(&asked.pools.pools[asked.account.pool as usize]);
    let last = format!("ringcracker ver. {}, as Redis ver. {version}\n", env!("CARGO_PKG_VERSION"));
    asked.write(|to| _ = to.verbatim(&format!("{RING}\n{last}")));
}

const RING: &str = r"
        _.-=='|,'==-._
     .='  .-~ / ~-.  '=.         submitted, not asked for;
    /   ,'    \    ',   \        completed, not announced.
   |   |      /      |   |       Round and round it goes,
    \   ',         ,'   /        and what you put in comes back in order.
     '=.  '~-...-~'  .='
        '~-==...==-~'
";
