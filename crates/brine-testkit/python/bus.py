"""Runs the event bus of a real Salt master or minion, alone and in the foreground.

Started with the Python of an environment that holds the Salt release wanted:

    python bus.py NODE SOCK_DIR ROOT_DIR OPTIONS

NODE is master or minion, ROOT_DIR takes the keys and caches a release wants besides, OPTIONS is a
Python dict of configuration options. Two lines on standard output say where the bus is going to be,
first the publish socket, then the pull socket; it is there when both accept.
"""

import ast
import asyncio
import hashlib
import logging
import os
import sys


def main():
    node, sock_dir, root_dir, options = sys.argv[1:5]
    logging.disable(logging.INFO)
    opts = options_of(node, sock_dir, root_dir, ast.literal_eval(options))
    print("\n".join(sockets(node, opts)), flush=True)

    import salt.utils.event

    if hasattr(salt.utils.event, "EventPublisher") and salt_series() == 3006:
        run_3006(node, opts)
    else:
        run(node, opts)


def options_of(node, sock_dir, root_dir, overrides):
    import salt.config

    opts = dict(getattr(salt.config, f"DEFAULT_{node.upper()}_OPTS"))
    opts.update(
        id="bus",
        root_dir=root_dir,
        pki_dir=os.path.join(root_dir, "pki"),
        cachedir=os.path.join(root_dir, "cache"),
        sock_dir=sock_dir,
        # Salt's own default for programs that read no configuration is 2.5 % of memory, not this.
        ipc_write_buffer=0,
        user="root",
        __role=node,
    )
    opts.update(overrides)
    for directory in ("sock_dir", "pki_dir", "cachedir"):
        os.makedirs(opts[directory], exist_ok=True)
    return opts


def sockets(node, opts):
    if opts["ipc_mode"] == "tcp":
        prefix = "tcp_master" if node == "master" else "tcp"
        host = "[::1]" if opts.get("ipv6") else "127.0.0.1"
        return [f"{host}:{opts[f'{prefix}_{side}_port']}" for side in ("pub", "pull")]
    name = "master_event"
    if node == "minion":
        digest = hashlib.new(opts["hash_type"], opts["id"].encode()).hexdigest()
        name = f"minion_event_{digest[:10]}"
    return [os.path.join(opts["sock_dir"], f"{name}_{side}.ipc") for side in ("pub", "pull")]


def salt_series():
    import salt.version

    return salt.version.__saltstack_version__.major


def run_3006(node, opts):
    import salt.utils.event

    if node == "master":
        salt.utils.event.EventPublisher(opts).run()
        return
    import salt.ext.tornado.ioloop

    loop = salt.ext.tornado.ioloop.IOLoop()
    loop.make_current()
    publisher = salt.utils.event.AsyncEventPublisher(opts, io_loop=loop)
    loop.start()
    publisher.close()


def run(node, opts):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if node == "master":
        import salt.channel.server

        # The daemon half of the master's publish channel; it takes the current loop.
        salt.channel.server.MasterPubServerChannel.factory(opts)._publish_daemon()
        return
    import tornado.ioloop
    import salt.transport

    server = salt.transport.ipc_publish_server("minion", opts)
    loop.create_task(
        server.publisher(server.publish_payload, io_loop=tornado.ioloop.IOLoop.current())
    )
    loop.run_forever()


if __name__ == "__main__":
    main()
