"""BACnet/IP: heat pumps, stores, collectors and meters of the heat network. Only ``link`` touches bacpypes3."""
