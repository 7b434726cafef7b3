"""Section `download` of the configuration for tests: short times, no room to keep."""

SETTINGS = {
    "offline": False,
    "revalidate": False,
    "connections": 4,
    "timeout_s": 0.4,
    "deadline_s": 4,
    "longest_wait_s": 4,
    "retries": 3,
    "backoff_s": 0.01,
    "patience": 8,
    "unreachable_share": 0.02,
    "min_free_gb": 0,
}
