"""What features belong to. Ids are strings everywhere; a user's is the pseudonym."""

from feast import Entity, ValueType

user = Entity(
    name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="A person who acts, as a pseudonym."
)
category = Entity(
    name="category", join_keys=["category"], value_type=ValueType.STRING, description="The group that an item is in."
)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.STRING, description="What can be shown.")
all_users = Entity(
    name="all", join_keys=["all_id"], value_type=ValueType.STRING, description='Everybody together; the id is "all".'
)
