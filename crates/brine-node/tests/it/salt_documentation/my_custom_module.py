def do_something():
    ret = {"changed": 5}
    __salt__["event.send"](
        "myco/my_custom_module/finished",
        {
            "finished": True,
            "message": "The something is finished!",
        },
    )
    return ret
