"""MQTT: single lamps and sensors behind a broker; the broker of the site itself."""
