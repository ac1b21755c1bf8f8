"""The part ``acoustic`` as it runs in a city: what nodes heard becomes incidents, and incidents have consequences."""
