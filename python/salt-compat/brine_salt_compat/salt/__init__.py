"""Salt's names over ``brine``, found only where no real Salt can be imported."""
