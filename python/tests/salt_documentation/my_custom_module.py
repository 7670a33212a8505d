# /srv/salt/_modules/my_custom_module.py


def do_something():
    """
    Do something and fire an event to the master when finished

    CLI Example::

        salt '*' my_custom_module:do_something
    """
    # do something!
    __salt__["event.send"](
        "myco/my_custom_module/finished",
        {"finished": True, "message": "The something is finished!"},
    )
