"""The bus beyond the machine: one CURVE door for streams and one for requests, for keys made on the site."""
