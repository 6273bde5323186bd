//! Device names: made from the instance's name, the same each time.

/// The kernel's limit (`IFNAMSIZ` less the closing zero).
const MAX: usize = 15;

/// What every device of sidegate's starts with.
const PREFIX: &str = "sg-";

/// What the device of `check --live` starts with: another name, so that a running instance is not disturbed.
const PROBE_PREFIX: &str = "sgp-";

/// The name of an instance's devices: `sg-` and the instance's name, or where that is too long for the kernel or has
/// odd characters, as much of it as fits and a hash of the whole.
pub fn device_name(instance: &str) -> String {
    name(PREFIX, instance)
}

/// The name of the device with which `check --live` asks on an instance's behalf.
pub(crate) fn probe_name(instance: &str) -> String {
    name(PROBE_PREFIX, instance)
}

fn name(prefix: &str, instance: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let room = MAX - prefix.len();
    if (1..=room).contains(&instance.len()) && instance.chars().all(plain) {
        return format!("{prefix}{instance}");
    }
    let hash = format!("{:06x}", fnv1a(instance.as_bytes()) & 0xff_ffff);
    let cut: String = instance.chars().filter(|c| plain(*c)).take(room - hash.len() - 1).collect();
    format!("{prefix}{cut}-{hash}")
}

/// FNV-1a: small, and the same on every machine and in every build, which the standard hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_kept() {
        assert_eq!(device_name("orders"), "sg-orders");
        assert_eq!(device_name("twelve-chars"), "sg-twelve-chars");
        assert_eq!(probe_name("orders"), "sgp-orders");
    }

    #[test]
    fn any_other_name_is_cut_and_hashed() {
        let long = device_name("/etc/sidegate/orders.toml");
        assert_eq!(long, device_name("/etc/sidegate/orders.toml"), "the same each time");
        assert_ne!(long, device_name("/etc/sidegate/orders2.toml"));
        for odd in ["", "a b", "%d", "ü", "..", "thirteen-char", "a/b", "a:b", "/etc/sidegate/orders.toml"] {
            for name in [device_name(odd), probe_name(odd)] {
                assert!(name.len() <= MAX, "{name} is too long");
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{name}");
            }
        }
    }
}
