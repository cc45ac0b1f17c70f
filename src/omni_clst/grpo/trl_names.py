"""What TRL calls things, and what the project does: reward functions that it asks for, figures that it logs."""


def reward_function(name: str):
    """A reward function for TRL that hands back what `rewards.py` found when the group was made."""

    def reward(prompts, completions, completion_ids, earned, **_):
        return [row[name] for row in earned]

    reward.__name__ = name
    return reward


def our_name(name: str) -> str | None:
    """TRL's name of a figure as the project writes it; None for what says nothing."""
    kind, _, rest = name.partition("/")
    if kind == "rewards":
        reward, _, figure = rest.partition("/")
        return f"reward/{reward}" if figure == "mean" else None
    return name
