"""Runs the event publisher of a real Salt master, alone, as a peer of the comparison.

Started with the Python of a virtual environment that holds the Salt release to measure:

    python salt_event_publisher.py SOCK_DIR ROOT_DIR

The sockets come into SOCK_DIR. ROOT_DIR holds what the release wants besides (keys, caches); it may
be used again, so that only the first start makes keys. Nothing is logged.
"""

import asyncio
import logging
import os
import sys


def main():
    sock_dir, root_dir = sys.argv[1:3]
    logging.disable(logging.CRITICAL)

    import salt.config
    import salt.utils.event

    opts = salt.config.DEFAULT_MASTER_OPTS.copy()
    opts = salt.config.apply_master_config(
        {
            "id": "bench",
            "root_dir": root_dir,
            "sock_dir": sock_dir,
            "pki_dir": os.path.join(root_dir, "pki"),
            "cachedir": os.path.join(root_dir, "cache"),
            "user": "root" if os.getuid() == 0 else os.environ.get("USER", ""),
        },
        opts,
    )
    # Joining a root to an absolute path is for configuration files.
    opts["sock_dir"] = sock_dir
    os.makedirs(opts["pki_dir"], exist_ok=True)
    os.makedirs(opts["cachedir"], exist_ok=True)

    if hasattr(salt.utils.event, "EventPublisher"):
        # 3006: a class of its own.
        salt.utils.event.EventPublisher(opts).run()
        return

    # 3007 and later: the daemon half of the master's publish channel. It takes the running loop.
    asyncio.set_event_loop(asyncio.new_event_loop())
    import salt.channel.server

    salt.channel.server.MasterPubServerChannel.factory(opts)._publish_daemon()


if __name__ == "__main__":
    main()
