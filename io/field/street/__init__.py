"""The part ``street``: lamps behind TALQ gateways, lamps and sensors behind an MQTT broker."""
