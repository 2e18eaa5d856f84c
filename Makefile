# Ours at the top; PGXS' targets are extension/Makefile's, so that `check` can be ours.
PG_CONFIG ?= pg_config

all install uninstall installcheck clean:
	$(MAKE) -C extension $@ PG_CONFIG=$(PG_CONFIG)

check:
	scripts/check

.PHONY: all install uninstall installcheck clean check
