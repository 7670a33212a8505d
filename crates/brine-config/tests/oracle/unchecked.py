"""Asks real Salt's source which options its daemons, commands and basic modules read without a check of their type.

    python3 unchecked.py

Prints their names, one a line: what is looked up by name in a configuration and has neither a type nor a default.
"""

import ast
import glob
import os

import salt.config

# Plugins for other products have options of their own; these parts have Salt's.
PARTS = """
_logging/*.py auth/__init__.py beacons/__init__.py channel/*.py cli/*.py client/__init__.py client/mixins.py
config/__init__.py crypt.py daemons/*.py engines/__init__.py executors/*.py fileclient.py fileserver/__init__.py
fileserver/roots.py key.py loader/*.py log_handlers/*.py master.py minion.py modules/cmdmod.py modules/config.py
modules/event.py modules/grains.py modules/mine.py modules/pillar.py modules/publish.py modules/saltutil.py
modules/schedule.py modules/state.py modules/sysmod.py output/*.py pillar/__init__.py returners/local_cache.py
runner.py runners/jobs.py runners/manage.py scripts.py state.py thorium/__init__.py transport/*.py
utils/batch_manager.py utils/channel.py utils/event.py utils/extmods.py utils/job.py utils/master.py utils/minions.py
utils/process.py utils/reactor.py utils/schedule.py utils/verify.py wheel/*.py
""".split()
# Salt puts these into its configuration itself: from a command line, or for a part of its own.
OF_SALT_ITSELF = set(
    """
    arg async auth_trb batch batch_wait caller chunked color config_dir delimiter dest beacons_leader detect_mode doc eauth force fun
    gen_keys gen_keys_dir gzip hash_id id_is_guessed include_accepted include_all include_denied include_rejected jid
    kwargs loaded_base_name local_masters local_state log_file_key logger logging master_ip master_list master_uri
    master_uri_list match match_dict metadata minion_id mktoken multimaster nested_indent no_color no_return_event
    outdir output output_file output_indent pool_index pool_name pool_size pool_worker_count preserve_minions
    print_metadata progress quiet raw refresh_grains_cache resource_type resources_dispatch resources_tgt
    resources_tgt_type ret retcode_passthrough secrets selected_target_option skip_grains src state_data static
    strip_colors subproxy tgt tgt_type token uid virtual_timer workers_ipc_name yes configure_console_logger
    configure_ext_handlers configure_file_logger configure_granular_levels conf_dir password username name
    """.split()
)


def is_config(node):
    """Whether an expression is a configuration."""
    if isinstance(node, ast.Name):
        return node.id in ("opts", "__opts__")
    return isinstance(node, ast.Attribute) and node.attr in ("opts", "__opts__")


def looked_up(node):
    """The expression by which an option is looked up, if one is."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and is_config(node.value):
        return node.slice
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)) and is_config(node.comparators[0]):
        return node.left
    if not isinstance(node, ast.Call) or not node.args:
        return None
    fun = node.func
    if isinstance(fun, ast.Attribute) and fun.attr == "get" and is_config(fun.value):
        return node.args[0]
    if isinstance(fun, ast.Subscript) and isinstance(fun.slice, ast.Constant) and fun.slice.value == "config.get":
        return node.args[0]
    return None


def main():
    """Prints the names."""
    root = os.path.dirname(os.path.dirname(salt.config.__file__))
    names = set()
    for part in PARTS:
        for path in glob.glob(os.path.join(root, part)):
            with open(path, encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                name = looked_up(node)
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    names.add(name.value)
    checked = set(salt.config.VALID_OPTS)
    checked |= set(salt.config.DEFAULT_MASTER_OPTS) | set(salt.config.DEFAULT_MINION_OPTS)
    hidden = {name for name in names if name.startswith("_")}
    for name in sorted(names - checked - hidden - OF_SALT_ITSELF):
        print(name)


main()
