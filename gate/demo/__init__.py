"""The main job, walked through once: `gate demo`. Stands above enrolment, as the command line."""
